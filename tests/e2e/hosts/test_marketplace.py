"""The tests that the community marketplace runs against an appliance, on a host."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hosts_watching import has_booted

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1500)]
HERE = Path(__file__).parent


@pytest.mark.skipif(shutil.which("rspec") is None, reason="rspec is not installed")
def test_the_tests_of_the_marketplace_pass_on_a_host(lab, wait, tell, tmp_path):
    """The generated rspec files, run as they are against a host in place of a VM."""
    (tmp_path / "lib/community").mkdir(parents=True)
    shutil.copy(HERE / "app_handler.rb", tmp_path / "lib/community")
    # An image that is tried out is alone: without a token, without a service.
    alone = {"TOKEN": "NO", "ONEGATE_ENDPOINT": ""}
    hosts = [lab.add("superlink", 10, **alone), lab.add("supernode", 11, **alone)]
    for host in hosts:
        host.boot()
        wait(f"{host.role} has booted", lambda host=host: has_booted(host), describe=lambda h=host: h.log())
    for host in hosts:
        name = f"oneflower-{host.role}/tests"
        copied = tmp_path / "appliances" / name
        shutil.copytree(HERE.parents[2] / "appliances" / name, copied)
        environ = {**os.environ, "HOST_INIT": str(host.init)}
        command = ["rspec", "--no-color", "--format", "documentation", "--pattern", f"{copied}/*.rb"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path)
        tell(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
