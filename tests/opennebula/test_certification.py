"""The marketplace's tests of our images, run by rspec against a VM that is made up.

What the bench offers was read in marketplace-community at fa6fbbd: ``lib/community/app_handler.rb`` and
``lib/community/clitester/{VM,SafeExec}.rb``.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates.catalogue import certification_test

OF_A_VM = {"ssh"}
OF_A_RESULT = {
    "exitstatus",
    "expect_fail",
    "expect_success",
    "fail?",
    "status",
    "stderr",
    "stdout",
    "success?",
}
STAND_IN = Path(__file__).parents[1] / "e2e/hosts/app_handler.rb"
# A VM whose boot takes a while: the status is one of $BOOT, the next at each look; nothing sleeps for real.
BENCH = """
class Result < Struct.new(:stdout, :stderr, :exitstatus)
    def success? = exitstatus.zero?
    def fail? = !success?
    def expect_success = (raise "#{self}" unless success?)
    def expect_fail = (raise "#{self}" if success?)
end
BOOT = ENV.fetch('BOOT').split(',')
PIDS = %w[11 11 0 12]
class Vm
    def ssh(command)
        raise "the bench cannot send #{command}" if command =~ /["$`]/
        code = command =~ /FedMagic|is-active flower-supernode/ ? 1 : 0
        out = case command
              when /status/ then BOOT.size > 1 ? BOOT.shift : BOOT.first
              when /MainPID/ then PIDS.size > 1 ? PIDS.shift : PIDS.first
              when /stat -c/ then '600'
              when /FedMagic/ then 'FedMagic'
              end
        Result.new(out.to_s + "\\n", '', code)
    end
end
module NoSleep
    def sleep(seconds) = ($slept = $slept.to_i + seconds)
end
RSpec.configure { |config| config.include(NoSleep) }
RSpec.configure { |config| config.after(:suite) { puts "slept #{$slept.to_i}" } }
RSpec.shared_context('vm_handler') { before(:all) { @info = { :vm => Vm.new } } }
"""
needs_rspec = pytest.mark.skipif(shutil.which("rspec") is None, reason="rspec is not installed")


@pytest.fixture(params=list(Machine))
def certify(request, tmp_path):
    """Run a role's tests against a VM whose boot goes through some states."""
    (tmp_path / "lib/community").mkdir(parents=True)
    (tmp_path / "lib/community/app_handler.rb").write_text(BENCH)
    file = tmp_path / "appliances/a/tests/a.rb"
    file.parent.mkdir(parents=True)
    file.write_text(certification_test(request.param))

    def run(boot):
        return subprocess.run(
            ["rspec", "--no-color", str(file)],
            env={"BOOT": boot, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@needs_rspec
def test_it_waits_for_the_end_of_the_bootstrap(certify):
    """The bench begins as soon as SSH answers; before the first stage there is no status at all."""
    done = certify(",".join(["", "install_success", *["configure_started"] * 30, "bootstrap_success"]))
    assert done.returncode == 0, done.stdout
    assert "0 failures" in done.stdout
    assert int(done.stdout.split("slept ")[1].split()[0]) >= 150


@needs_rspec
@pytest.mark.parametrize("state", ["configure_failure", "bootstrap_failure"])
def test_a_stage_that_failed_ends_the_wait_at_once(certify, state):
    done = certify(f"install_success,{state}")
    assert done.returncode == 1
    assert f"the appliance says {state}" in done.stdout
    assert "slept 5" in done.stdout


@needs_rspec
def test_the_wait_is_bounded(certify):
    done = certify("bootstrap_started")
    assert done.returncode == 1
    assert "bootstrap_success: not within 600 seconds" in done.stdout
    assert "slept 600" in done.stdout


@pytest.mark.parametrize("machine", list(Machine))
def test_it_asks_for_nothing_that_the_bench_does_not_have(machine):
    text = certification_test(machine)
    called = set(re.findall(r"\.ssh\([^)]*\)\.([a-z_]+\??)", text)) | set(
        re.findall(r"result\.([a-z_]+\??)", text)
    )
    assert called
    assert called <= OF_A_RESULT
    assert set(re.findall(r"@info\[:vm\]\.([a-z_]+\??)", text)) == OF_A_VM
    assert text.count("describe ") == text.count("include_context('vm_handler')") == 1


def test_our_stand_in_has_what_the_tests_ask_for():
    text = STAND_IN.read_text()
    for machine in Machine:
        for name in set(re.findall(r"\.ssh\([^)]*\)\.([a-z_]+\??)", certification_test(machine))):
            assert re.search(rf"def {re.escape(name)}|:{name}\b", text), name


@pytest.mark.parametrize("machine", list(Machine))
def test_no_command_holds_what_the_benchs_own_shell_would_read(machine):
    """The bench puts a command between double quotes on a command line of its own."""
    commands = re.findall(r"(?:ssh|output)\('([^']*)'\)|command = '([^']*)'", certification_test(machine))
    assert len(commands) >= 5
    assert not [pair for pair in commands if set("".join(pair)) & set('"$`\\')]
