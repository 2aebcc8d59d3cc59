"""Whether what was restored is what was backed up. Used by tests/scale/run.py and tests/chaos."""

import subprocess


def differences(source, restored, contents=False):
    """What rsync would do to make one out of the other, empty if they are the same; with `contents` every byte is compared, not sizes and times."""
    how = "-aHnic" if contents else "-aHni"
    ran = subprocess.run(["rsync", how, "--delete", f"{source}/", f"{restored}/"], capture_output=True, text=True)
    return ran.stdout if ran.returncode == 0 else f"rsync ended with {ran.returncode}: {ran.stderr}"
