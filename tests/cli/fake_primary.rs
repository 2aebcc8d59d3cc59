//! A primary that says what a test tells it to: real TLS and gRPC, no brain.
//!
//! Used by the tests of the command line only; tests with real processes live elsewhere.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outlast_kit::authority::Authority;
use outlast_kit::identity::{Identity, Kind};
use outlast_kit::tls::{Credentials, TlsFiles};
use outlast_proto::v1;
use outlast_proto::v1::cluster_server::{Cluster, ClusterServer};
use outlast_proto::v1::jobs_server::{Jobs, JobsServer};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What the fake answers, and what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) jobs: Vec<v1::Job>,
    pub(crate) status: v1::ClusterStatus,
    /// How often `Run` answers that there is no leader before it works.
    pub(crate) run_fails: usize,
    /// Refuses every `Run` so.
    pub(crate) run_refused: Option<Status>,
    /// The request ids of all calls of `Run`.
    pub(crate) request_ids: Vec<String>,
}

/// What the services hold.
#[derive(Clone, Default)]
pub(crate) struct FakePrimary(pub(crate) Arc<Mutex<Script>>);

/// A fake that is up, in a runtime of its own: connections live as long as the runtime they were accepted in.
pub(crate) struct Running(Option<Runtime>);

impl Running {
    /// Ends it in mid-stream, as a primary that is killed does.
    pub(crate) async fn stop(mut self) {
        let runtime = self.0.take();
        tokio::task::spawn_blocking(|| {
            runtime.map(|runtime| runtime.shutdown_timeout(Duration::from_secs(5)))
        })
        .await
        .expect("the fake primary does not panic");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl FakePrimary {
    pub(crate) fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().expect("no test holds this while it fails")
    }

    /// Serves on `port` with the certificates in `folder`.
    pub(crate) fn serve(&self, folder: &Path, port: u16) -> Running {
        let credentials = Credentials::load(&tls_files(folder, "primary")).expect("our own certificates");
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be had");
        let guard = runtime.enter();
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], port).into()).expect("the port is free");
        let server = Server::builder()
            .tls_config(credentials.server())
            .expect("our own certificates")
            .add_service(JobsServer::new(self.clone()))
            .add_service(ClusterServer::new(self.clone()))
            .serve_with_incoming(incoming);
        runtime.spawn(server);
        drop(guard);
        Running(Some(runtime))
    }
}

/// Makes a CA, a primary's and an operator's certificate, and a context file; its path.
pub(crate) fn context(folder: &Path, ports: &[u16]) -> std::path::PathBuf {
    let (authority, ca) = Authority::create().expect("a CA can be made");
    std::fs::write(folder.join("ca.pem"), ca.cert).expect("the folder can be written");
    for (kind, name) in [(Kind::Primary, "primary"), (Kind::Operator, "operator")] {
        let identity = Identity {
            kind,
            name: name.to_owned(),
        };
        let pem = authority.issue(&identity).expect("certificates can be made");
        let files = tls_files(folder, name);
        std::fs::write(files.cert, pem.cert).expect("the folder can be written");
        std::fs::write(files.key, pem.key).expect("the folder can be written");
    }
    let primaries: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let text = format!(
        "primaries = [{}]\n[tls]\nca = \"ca.pem\"\ncert = \"operator.pem\"\nkey = \"operator.key\"\n",
        primaries.join(", ")
    );
    let path = folder.join("client.toml");
    std::fs::write(&path, text).expect("the folder can be written");
    path
}

fn tls_files(folder: &Path, name: &str) -> TlsFiles {
    TlsFiles {
        ca: folder.join("ca.pem"),
        cert: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    }
}

#[tonic::async_trait]
impl Jobs for FakePrimary {
    type WatchStream = ReceiverStream<Result<v1::Job, Status>>;

    async fn run(&self, request: Request<v1::RunJobRequest>) -> Result<Response<v1::RunJobResponse>, Status> {
        let mut script = self.script();
        script.request_ids.push(request.into_inner().request_id);
        if let Some(status) = &script.run_refused {
            return Err(status.clone());
        }
        if script.run_fails > 0 {
            script.run_fails -= 1;
            return Err(outlast_kit::errors::not_leader(None));
        }
        let ids = script.jobs.iter().map(|job| job.id.clone()).collect();
        Ok(Response::new(v1::RunJobResponse { ids }))
    }

    async fn restore(&self, _: Request<v1::RestoreRequest>) -> Result<Response<v1::RunJobResponse>, Status> {
        Err(Status::failed_precondition("this fake restores nothing"))
    }

    async fn cancel(&self, request: Request<v1::CancelJobRequest>) -> Result<Response<v1::Job>, Status> {
        let id = request.into_inner().id;
        self.get(Request::new(v1::GetJobRequest { id, stale: false }))
            .await
    }

    async fn hold(&self, request: Request<v1::ChangeJobRequest>) -> Result<Response<v1::Job>, Status> {
        let id = request.into_inner().id;
        self.get(Request::new(v1::GetJobRequest { id, stale: false }))
            .await
    }

    async fn release(&self, request: Request<v1::ChangeJobRequest>) -> Result<Response<v1::Job>, Status> {
        self.hold(request).await
    }

    async fn resume(&self, request: Request<v1::ChangeJobRequest>) -> Result<Response<v1::Job>, Status> {
        self.hold(request).await
    }

    async fn restart(
        &self,
        request: Request<v1::ChangeJobRequest>,
    ) -> Result<Response<v1::RunJobResponse>, Status> {
        let ids = vec![request.into_inner().id];
        Ok(Response::new(v1::RunJobResponse { ids }))
    }

    async fn get(&self, request: Request<v1::GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        let id = request.into_inner().id;
        let found = self.script().jobs.iter().find(|job| job.id == id).cloned();
        found
            .map(Response::new)
            .ok_or_else(|| Status::not_found(format!("there is no job \"{id}\"")))
    }

    /// Two jobs a page.
    async fn list(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let page = request.into_inner().page.unwrap_or_default();
        let first: usize = page.token.parse().unwrap_or(0);
        let script = self.script();
        let jobs: Vec<_> = script.jobs.iter().skip(first).take(2).cloned().collect();
        let next = first + jobs.len();
        let next_page_token = if next < script.jobs.len() {
            next.to_string()
        } else {
            String::new()
        };
        Ok(Response::new(v1::ListJobsResponse {
            jobs,
            next_page_token,
        }))
    }

    async fn details(&self, _: Request<v1::GetJobRequest>) -> Result<Response<v1::JobDetails>, Status> {
        Ok(Response::new(v1::JobDetails::default()))
    }

    async fn log(&self, _: Request<v1::GetJobLogRequest>) -> Result<Response<v1::JobLog>, Status> {
        Ok(Response::new(v1::JobLog::default()))
    }

    /// The job as it is, and no more unless it is done.
    async fn watch(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let job = self.get(request).await?.into_inner();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let done = job.state() == v1::JobState::Done;
            // A watcher that is gone is nobody's loss here.
            let _ = sender.send(Ok(job)).await;
            if !done {
                sender.closed().await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Cluster for FakePrimary {
    async fn status(
        &self,
        _: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        Ok(Response::new(self.script().status.clone()))
    }

    async fn acknowledge_alarm(
        &self,
        _: Request<v1::AcknowledgeAlarmRequest>,
    ) -> Result<Response<v1::AcknowledgeAlarmResponse>, Status> {
        not_scripted()
    }

    async fn init(&self, _: Request<v1::InitRequest>) -> Result<Response<v1::InitResponse>, Status> {
        not_scripted()
    }

    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        not_scripted()
    }

    async fn remove(&self, _: Request<v1::RemoveRequest>) -> Result<Response<v1::RemoveResponse>, Status> {
        not_scripted()
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        not_scripted()
    }

    async fn get_settings(
        &self,
        _: Request<v1::GetSettingsRequest>,
    ) -> Result<Response<v1::Settings>, Status> {
        not_scripted()
    }

    async fn change_settings(
        &self,
        _: Request<v1::ChangeSettingsRequest>,
    ) -> Result<Response<v1::Settings>, Status> {
        not_scripted()
    }
}

fn not_scripted<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the fake has no words for this"))
}
