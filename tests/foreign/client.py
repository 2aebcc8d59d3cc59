#!/usr/bin/env python3
"""A client that shares no code with outlast: grpcio and the .proto files alone.

    client.py PROTO_FOLDER DEV_FOLDER ITEM

Applies a policy, runs it, watches the job to its end, and lists the restore point. Prints one JSON document.
Needs grpcio and grpcio-tools.
"""

import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path


def generate(protos, out):
    files = sorted(str(path) for path in Path(protos).rglob("*.proto"))
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"--python_out={out}", f"--grpc_python_out={out}", *files],
        check=True,
    )
    sys.path.insert(0, out)


def addresses(context):
    line = next(line for line in context.read_text().splitlines() if line.startswith("primaries"))
    return json.loads(line.split("=", 1)[1])


def channels(dev):
    import grpc

    tls = dev / "tls"
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(), (tls / "operator-key.pem").read_bytes(), (tls / "operator.pem").read_bytes()
    )
    options = [("grpc.ssl_target_name_override", "primary.outlast")]
    return [grpc.secure_channel(address, credentials, options) for address in addresses(dev / "client.toml")]


def at_the_leader(channels, stub, call):
    """Any node names the leader; trying all of them in turn is the simplest client there is."""
    import grpc

    deadline = time.monotonic() + 30
    while True:
        for channel in channels:
            try:
                return call(stub(channel))
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                last = error
        if time.monotonic() > deadline:
            raise last
        time.sleep(0.2)


def main():
    protos, dev, item = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    with tempfile.TemporaryDirectory() as out:
        generate(protos, out)
        from outlast.v1 import common_pb2, jobs_pb2, jobs_pb2_grpc, policies_pb2, policies_pb2_grpc
        from outlast.v1 import restore_points_pb2, restore_points_pb2_grpc

        nodes = channels(dev)
        policy = policies_pb2.Policy(name="foreign", clients=["local"], items=[item], pool="default")
        request = policies_pb2.ApplyPolicyRequest(request_id=str(uuid.uuid4()), policy=policy)
        applied = at_the_leader(nodes, policies_pb2_grpc.PoliciesStub, lambda stub: stub.Apply(request, timeout=5))
        run = jobs_pb2.RunJobRequest(request_id=str(uuid.uuid4()), policy="foreign")
        jobs = jobs_pb2_grpc.JobsStub
        # The same request twice is one job.
        ids = [at_the_leader(nodes, jobs, lambda stub: stub.Run(run, timeout=5)).ids[0] for _ in range(2)]
        states = []

        def watch(stub):
            for job in stub.Watch(jobs_pb2.GetJobRequest(id=ids[0]), timeout=60):
                states.append(common_pb2.JobState.Name(job.state))
                last = job
            return last

        job = at_the_leader(nodes, jobs, watch)
        listing = restore_points_pb2.ListRestorePointsRequest(policy="foreign")
        points = at_the_leader(nodes, restore_points_pb2_grpc.RestorePointsStub, lambda stub: stub.List(listing, timeout=5))
        print(json.dumps({
            "created": applied.created,
            "ids": ids,
            "states": states,
            "status": common_pb2.CompletionStatus.Name(job.status),
            "restore_points": [point.id for point in points.restore_points],
            "item": job.items[0].restore_point,
        }))


if __name__ == "__main__":
    main()
