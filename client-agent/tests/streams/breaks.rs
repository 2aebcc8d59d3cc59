//! F-10: streams that break and go on, through a proxy that cuts them.

use std::time::Duration;

use outlast_client_agent::attempt::{AttemptError, Ends, MadeFolders};

use crate::media_agent::{MediaAgent, Script, backup_ticket};
use crate::proxy::Proxy;
use crate::run::{World, attempt, ticket};
use crate::trees::noise;

/// A whole agent over TLS: its backup arrives whole and once, however often it is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_a_backup_goes_on_over_every_break() {
    let world = World::new().await;
    let item = world.temp.path().join("item");
    std::fs::create_dir(&item).unwrap();
    for number in 0..24 {
        std::fs::write(item.join(number.to_string()), noise(number, 1 << 20)).unwrap();
    }
    let agent = MediaAgent::new(Script {
        items: 1,
        ..Script::default()
    });
    let proxy = Proxy::start();
    proxy.lead_to(&world.media_agent(&agent).await.to_string());
    // Within messages, between them, and in mid-handshake.
    let bytes = [
        9_000, 60_000, 1_500_000, 1_000, 2_500_000, 20_000, 3_000_000, 2_000_000,
    ];
    proxy.plan(bytes);
    let process = world.start();
    let mut session = world.session().await;
    session.welcome(&[]).await;
    session
        .admit(&ticket(&item, 1), proxy.address().parse().unwrap())
        .await;
    session.done(&attempt(1)).await;
    let told = agent.told();
    assert_eq!(proxy.cuts(), bytes.len());
    assert!(told.streams > 4, "{}", told.streams);
    assert_eq!(told.items.len(), 1);
    assert_eq!(
        told.items[0].end.as_ref().map(|end| end.error.is_none()),
        Some(true)
    );
    let names = |node: &outlast_proto::v1::Node| String::from_utf8(node.name.to_vec()).unwrap();
    let nodes = crate::media_agent::nodes(&told.items[0].entries);
    assert_eq!(nodes.len(), 25);
    for node in nodes
        .into_iter()
        .filter(|node| node.size > 0 && names(node) != "item")
    {
        let expected = noise(names(node).parse().unwrap(), 1 << 20);
        assert!(told.content(0, node.number) == expected, "{}", names(node));
    }
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_another_process_of_the_media_agent_is_no_one_to_go_on_with() {
    let temp = tempfile::tempdir().unwrap();
    let agent = MediaAgent::new(Script {
        is_anew: true,
        is_silent: true,
        reconnect_for: Duration::from_secs(60),
        ..Script::default()
    });
    let proxy = Proxy::start();
    proxy.lead_to(&agent.serve().await.to_string());
    let ticket = backup_ticket(&[temp.path().to_owned()], &[]);
    let address = proxy.address();
    let run = agent.run_over(&address, MadeFolders::default(), &ticket, Ends::default());
    let cut = async {
        while agent.told().streams == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // A cut before the welcome has arrived shows no process to go on with: each stream gets more time than the one before.
        for number in 1..20 {
            proxy.cut();
            tokio::time::sleep(Duration::from_millis(50) * number).await;
        }
    };
    let outcome = tokio::select! {
        outcome = run => outcome,
        () = cut => panic!("it goes on"),
    };
    assert!(matches!(outcome, Err(AttemptError::NewProcess)), "{outcome:?}");
}
