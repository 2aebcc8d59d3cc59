//! The systemd unit of the client agent, as it is shipped: it hides nothing of the host from a backup, and keeps no restore from
//! writing. systemd itself is not needed.

/// Directives that show a service something else than the host has, or keep it from writing there or making device nodes.
const HIDING: [&str; 28] = [
    "BindPaths",
    "BindReadOnlyPaths",
    "DeviceAllow",
    "DevicePolicy",
    "DynamicUser",
    "ExtensionDirectories",
    "ExtensionImages",
    "InaccessiblePaths",
    "JoinsNamespaceOf",
    "MountAPIVFS",
    "MountImages",
    "NetworkNamespacePath",
    "PrivateDevices",
    "PrivateMounts",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ReadOnlyPaths",
    "RootDirectory",
    "RootImage",
    "TemporaryFileSystem",
];

#[test]
fn t90_the_client_agent_sees_the_whole_host() {
    let unit = include_str!("../deploy/systemd/outlast-client-agent.service");
    let set = unit.lines().filter_map(|line| line.split_once('='));
    let set: Vec<(&str, &str)> = set.map(|(name, value)| (name.trim(), value.trim())).collect();
    assert!(
        set.contains(&("ProtectSystem", "no")),
        "the default of a service manager may be another"
    );
    for (name, value) in set {
        assert!(
            !HIDING.contains(&name),
            "{name}={value} hides a part of the host from backups or restores"
        );
    }
}
