"""A SuperLink hands out the parts of the data, and each SuperNode knows its own, whatever is scaled."""

import json
import os
import stat
import threading
from datetime import UTC, datetime

import pytest

from oneflower.opennebula.appliance import bootstrap as bootstrapping
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance import partitions as handing
from oneflower.opennebula.appliance import report as reporting
from oneflower.opennebula.appliance.bootstrap import bootstrap
from oneflower.opennebula.appliance.configure import configure
from oneflower.opennebula.appliance.partitions import PartitionTable
from oneflower.opennebula.appliance.report import look
from oneflower.opennebula.onegate.encoding import body
from oneflower.opennebula.onegate.service import (
    find_superlink,
    part_claims,
    part_word,
    parts_word,
    read_part,
    read_parts,
    supernode_ids,
)
from oneflower.parts import Part, read_table
from oneflower.tls import make_authority

NODE = "flower-supernode.service"


def hand_out(stage):
    """Look once, as at the start of a report, and return what OneGate is to know."""
    return PartitionTable(stage, lambda: 0.0).update()


@pytest.fixture
def members(onegate):
    """Let the role have these VMs, as OneGate shows them; one that stays keeps what it has published."""

    def change(*ids, asks=True):
        vms = onegate.state.vms
        for vm_id in [vm_id for vm_id, vm in vms.items() if vm["role"] == "supernode" and vm_id not in ids]:
            del vms[vm_id]
        for vm_id in ids:
            vms.setdefault(vm_id, {"role": "supernode", "ip": f"10.77.0.{vm_id}", "template": {}})
            onegate.state.tokens[vm_id] = f"token-{vm_id}"
            if asks:
                vms[vm_id]["template"].setdefault("FL_PART", "none")

    return change


def table_of(layout):
    return read_table(layout.parts.read_text())


class TestTheSuperLink:
    @pytest.fixture
    def link(self, stage_of, layout, members):
        layout.make(checkpoints=False)
        members(11, 12)
        return stage_of("superlink", vm=10)

    def test_it_follows_the_service_through_what_oneflow_does(self, link, layout, members):
        """OneFlow removes the oldest; no part has two members, and none is with nobody."""
        for ids, table in (
            ((20, 21), (20, 21)),
            ((20, 21, 22), (20, 21, 22)),
            ((21, 22), (22, 21)),
            ((21, 22, 23), (22, 21, 23)),
        ):
            members(*ids)
            assert hand_out(link) == {"FL_PARTS": ":".join(map(str, table))}
            assert table_of(layout) == table

    def test_one_that_boots_or_never_does_has_no_part_and_one_that_stopped_keeps_its_own(
        self, link, layout, members, onegate
    ):
        members(20, 21)
        hand_out(link)
        members(20, 21, 22, asks=False)
        hand_out(link)
        assert table_of(layout) == (20, 21)
        del onegate.state.vms[20]["template"]["FL_PART"]  # as of a VM that was made anew under its id
        members(20, 21, 22)
        hand_out(link)
        assert table_of(layout) == (20, 21, 22)

    def test_the_table_is_there_before_anything_is_started(self, stage_of, layout, members):
        members(11, 12)
        configure(stage_of("superlink", vm=10, ETH0_IP="10.77.0.2"))
        assert table_of(layout) == (11, 12)
        text = layout.environment("flower-superlink").read_text()
        assert "ONEFLOWER_PARTS=/app/service/parts.json\n" in text
        assert (
            f'"--volume={layout.service}:/app/service:ro"'
            in (layout.units / "flower-superlink.service").read_text()
        )

    def test_the_containers_read_it_and_root_alone_writes_it(self, link, layout):
        before = os.umask(0o077)  # as in the unit of the report
        try:
            hand_out(link)
        finally:
            os.umask(before)
        assert stat.S_IMODE(layout.parts.stat().st_mode) == 0o644
        assert stat.S_IMODE(layout.service.stat().st_mode) == 0o755
        assert layout.parts.stat().st_uid == layout.service.stat().st_uid == os.getuid()

    def test_nothing_is_written_while_nothing_changes(self, link, layout):
        hand_out(link)
        written = layout.parts.stat()
        assert hand_out(link) == {"FL_PARTS": "11:12"}
        assert layout.parts.stat() == written

    def test_it_survives_a_reboot(self, stage_of, link, layout, members):
        for ids in ((20, 21), (21, 22)):
            members(*ids)
            hand_out(link)
        hand_out(stage_of("superlink", vm=10))
        assert table_of(layout) == (22, 21)

    @pytest.mark.parametrize("status", [401, 404, 500])
    def test_the_last_table_holds_while_onegate_is_away(self, link, layout, onegate, status):
        """OneGate answers 401 or 404 while oned does not."""
        hand_out(link)
        onegate.state.failures = [status] * 5
        assert hand_out(link) == {"FL_PARTS": "11:12"}
        assert table_of(layout) == (11, 12)

    def test_a_machine_without_a_service_hands_nothing_out(self, stage_of, link, layout, onegate):
        onegate.state.in_service = False
        assert hand_out(link) == hand_out(stage_of("superlink")) == {}
        assert not layout.parts.exists()

    def test_one_that_was_replaced_rebuilds_the_table_from_what_the_nodes_say(self, link, layout, onegate):
        onegate.state.vms[11]["template"]["FL_PART"] = "1-2"
        onegate.state.vms[12]["template"]["FL_PART"] = "0-2"
        hand_out(link)
        assert table_of(layout) == (12, 11)

    @pytest.mark.parametrize(
        "said", ["9-2", "0-2", "x", "-1-2", "0-0", "1", "$(reboot)", "0-2-2", "\u0660-\u0662"]
    )
    def test_what_a_node_says_gives_no_part_twice(self, link, layout, onegate, said):
        for vm_id in (11, 12):
            onegate.state.vms[vm_id]["template"]["FL_PART"] = said
        hand_out(link)
        assert sorted(table_of(layout)) == [11, 12]

    def test_a_damaged_table_is_made_again(self, link, layout):
        hand_out(link)
        layout.parts.write_text("{")
        hand_out(link)
        assert table_of(layout) == (11, 12)

    def test_the_report_looks_now_and_then(self, link, members):
        now = 0.0
        parts = PartitionTable(link, lambda: now)
        assert parts.update() == {"FL_PARTS": "11:12"}
        members(12, 13)
        now = handing.UPDATE_EVERY_S - 1
        assert parts.update() == {"FL_PARTS": "11:12"}
        now += 1
        assert parts.update() == parts.values == {"FL_PARTS": "13:12"}

    def test_it_looks_less_often_while_onegate_is_away(self, link, onegate):
        """Four VMs that called a saturated OneGate every ten seconds kept it saturated."""
        now, asked = 0.0, []
        parts = PartitionTable(link, lambda: now)
        for second in range(300):
            now, onegate.state.failures, before = float(second), [500], len(onegate.state.calls)
            parts.update()
            asked += [second] * (len(onegate.state.calls) - before)
        assert asked == [0, 20, 60, 120, 180, 240]

    def test_the_report_tells_onegate(self, link, onegate, monkeypatch):
        monkeypatch.setattr(reporting, "POLL_S", 0.02)
        link.record_published({"READY": "YES"})
        stop = threading.Event()
        thread = threading.Thread(target=reporting.report, args=(link, stop))
        thread.start()
        stop.wait(0.2)
        stop.set()
        thread.join()
        assert onegate.state.vms[10]["template"]["FL_PARTS"] == "11:12"


class TestASuperNode:
    @pytest.fixture(autouse=True)
    def superlink(self, client_of, monkeypatch):
        """A SuperLink that hands out parts: call it with what it publishes."""
        monkeypatch.setattr(bootstrapping, "HEALTH_TIMEOUT_S", 0.0)
        monkeypatch.setattr(joining, "PARTITION_TIMEOUT_S", 0.0)
        self.ca = make_authority(datetime.now(UTC)).certificate_pem().decode()
        client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092", "FL_CA_CERT": self.ca})
        return lambda table: client_of(10).publish({"FL_PARTS": table})

    @pytest.fixture
    def boot(self, stage_of):
        def boot(**context):
            stage = stage_of("supernode", vm=12, **context)
            configure(stage)
            bootstrap(stage)
            return stage

        return boot

    @pytest.fixture
    def node_config(self, layout):
        def read():
            text = (layout.units / NODE).read_text()
            return text.split('"--node-config" "', 1)[1].split('"', 1)[0]

        return read

    def test_it_starts_with_the_part_that_it_was_given(self, boot, superlink, node_config):
        superlink("12:11")
        boot()
        assert node_config() == "partition-id=0 num-partitions=2 member-id=12 client-name='vm-12'"

    @pytest.mark.parametrize("table", ["11", None])
    def test_a_new_one_asks_for_a_part_and_waits_for_it(
        self, stage_of, superlink, onegate, table, monkeypatch
    ):
        """Without that it would train, for some seconds, on a part that another one has."""
        if table:
            superlink(table)
        stage = stage_of("supernode", vm=12)
        monkeypatch.setattr(joining, "PARTITION_TIMEOUT_S", 60.0)
        monkeypatch.setattr(joining, "DISCOVERY_TIMEOUT_S", 0.0)  # what is left is to wait for the part
        slept = []

        def sleep(seconds):
            slept.append(seconds)
            assert onegate.state.vms[12]["template"]["FL_PART"] == "none"
            superlink("12:11")

        found = joining.wait_for(stage, stage.settings(), sleep=sleep)
        assert len(slept) == 1
        assert found.assignment.started == Part(index=0, count=2)

    def test_it_does_not_wait_for_ever(self, stage_of, superlink):
        superlink("11")
        stage = stage_of("supernode", vm=12)
        assert joining.wait_for(stage, stage.settings()).assignment.started == Part(index=1, count=2)

    def test_one_that_runs_is_not_restarted_when_its_part_moves(self, boot, superlink, commands, node_config):
        """The messages say it; a restart would cost the round."""
        superlink("11:12")
        stage = boot()
        commands.restarted()
        superlink("12:11")
        look(stage)
        assert commands.restarted() == []
        assert node_config() == "partition-id=1 num-partitions=2 member-id=12 client-name='vm-12'"
        assert joining.partition_values(stage) == {"FL_PART": "0-2"}
        boot()
        assert node_config() == "partition-id=0 num-partitions=2 member-id=12 client-name='vm-12'"

    def test_what_it_was_told_survives_a_superlink_without_a_table(self, boot, superlink, client_of):
        superlink("12:11")
        stage = boot()
        client_of(10).erase(["FL_PARTS"])
        look(stage)
        assert joining.partition_values(stage) == {"FL_PART": "0-2"}

    @pytest.mark.parametrize("said", ["12:12", "x", "11:", "-1:12", "12 11"])
    def test_a_table_that_makes_no_sense_is_none(self, boot, superlink, onegate, node_config, said):
        onegate.state.vms[10]["template"]["FL_PARTS"] = said
        boot()
        assert node_config() == "partition-id=1 num-partitions=2 member-id=12 client-name='vm-12'"

    @pytest.mark.parametrize("own", ["partition-id=7 num-partitions=9", "partition-id=0", "num-partitions=9"])
    def test_a_part_of_the_operators_is_never_replaced(self, boot, superlink, node_config, own):
        """And none is kept for it that nobody would train on."""
        superlink("11")
        stage = boot(FL_NODE_CONFIG=own)
        assert "member-id" not in node_config()
        assert joining.partition_values(stage) == {}
        assert all(pair in node_config() for pair in own.split())

    def test_other_pairs_of_the_operators_leave_it_a_member(self, boot, superlink, node_config):
        superlink("12:11")
        boot(FL_NODE_CONFIG="gpu=1")
        assert node_config() == "partition-id=0 num-partitions=2 member-id=12 client-name='vm-12' gpu=1"

    def test_it_is_no_member_of_a_superlink_elsewhere(self, boot, superlink, node_config):
        """There the same VM id may be another machine's."""
        superlink("12:11")
        stage = boot(FL_SUPERLINK_ADDRESS="192.0.2.9:9092")
        assert node_config() == "partition-id=1 num-partitions=2 client-name='vm-12'"
        assert joining.partition_values(stage) == {}

    def test_it_is_a_member_where_the_address_is_that_of_its_own_service(self, boot, superlink, node_config):
        superlink("12:11")
        boot(FL_SUPERLINK_ADDRESS="10.77.0.2:9092")
        assert node_config() == "partition-id=0 num-partitions=2 member-id=12 client-name='vm-12'"

    def test_what_an_older_version_kept_is_understood(self, boot, superlink, layout, node_config):
        layout.config.mkdir(parents=True)
        layout.join.write_text(json.dumps({"vm": "12", "index": 2, "count": 3}))
        boot()
        assert node_config() == "partition-id=2 num-partitions=3 member-id=12 client-name='vm-12'"

    def test_its_report_tells_onegate(self, boot, onegate):
        stage, stop = boot(), threading.Event()
        thread = threading.Thread(target=reporting.report, args=(stage, stop))
        thread.start()
        stop.wait(0.2)
        stop.set()
        thread.join()
        assert onegate.state.vms[12]["template"]["FL_PART"] == "1-2"


def test_scaling_in_and_out_ends_with_one_part_for_each(stage_of, onegate, members, layout, client_of):
    """The whole way: what each node starts with, what the SuperLink hands out, and after its replacement."""
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092"})
    layout.make(checkpoints=False)
    link = stage_of("superlink", vm=10)
    for ids in ((20, 21), (20, 21, 22), (21, 22), (21, 22, 23)):
        members(*ids)
        client_of(10).publish(hand_out(link))
        for vm_id in ids:
            machine = stage_of("supernode", vm=vm_id, FL_TLS_ENABLED="NO")
            told = joining.find(machine, machine.settings()).assignment.assigned
            client_of(vm_id).publish({"FL_PART": part_word(told)})
    layout.parts.unlink()
    hand_out(link)
    assert table_of(layout) == (22, 21, 23)


def test_words_are_what_onegate_takes_and_come_back():
    part, table = Part(index=3, count=12), (22, 21, 23)
    assert (
        body({"FL_PART": part_word(part), "FL_PARTS": parts_word(table)}) == "FL_PART=3-12\nFL_PARTS=22:21:23"
    )
    assert read_part(part_word(part)) == part
    assert read_parts(parts_word(table)) == table
    assert read_parts("") == read_parts("1:1") == read_parts("01") == read_parts('"') == ()


def test_a_vm_of_which_onegate_knows_only_the_id_is_a_member():
    """One that boots, or whose information OneGate could not get: its part must not go to another."""
    nodes = [{"deploy_id": 11}, {"deploy_id": "12", "vm_info": None}, {"vm_info": {"VM": {"ID": "13"}}}, {}]
    service = {"roles": [{"name": "supernode", "nodes": nodes}, {"name": "superlink"}]}
    assert supernode_ids(service) == {11, 12, 13}
    assert part_claims(service) == {}
    assert find_superlink(service) is None
    assert supernode_ids({}) == frozenset()
