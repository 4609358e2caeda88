"""The OneFlow service in two forms: 6 (for OneFlow 6.8 to 7.x) and 7 (for OneFlow 7.x only)."""

from enum import StrEnum
from typing import Any

from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates.syntax import attribute, template, vector
from oneflower.opennebula.templates.vm import input_of
from oneflower.settings import TABLE, Variable, asked

NAME = "oneflower"
DESCRIPTION = "Federated learning with Flower: one SuperLink and its SuperNodes"
NETWORK = "Private"
# No default id: OpenNebula's command line would use it and ignore the id that the operator types.
NETWORKS = {NETWORK: "M|network|Network for the cluster||id:"}
# For so long after scaling OneFlow refuses to scale again; its default is 300 s.
COOLDOWN_S = 60
SUPERNODES = {"cardinality": 2, "min_vms": 2, "max_vms": 10, "cooldown": COOLDOWN_S}
SUPERLINKS = {"cardinality": 1, "min_vms": 1, "max_vms": 1}


class Form(StrEnum):
    """The OneFlow version that reads the service."""

    SIX = "6"
    SEVEN = "7"


def service(
    form: Form,
    *,
    superlink_template: int = 0,
    supernode_template: int = 0,
    all_inputs: bool = False,
    gpu: bool = False,
) -> dict[str, Any]:
    """Return the service template as JSON values.

    Parameters
    ----------
    superlink_template, supernode_template
        Ids of the two VM templates on the front-end.
    all_inputs
        Ask for every variable instead of those of the short form.
    gpu
        Ask for the variables of GPUs, too, and offer FL_GPU_ENABLED=YES.
    """
    ids = {Machine.SUPERLINK: superlink_template, Machine.SUPERNODE: supernode_template}
    inputs = {
        name_in(form, variable): input_of(variable, gpu=gpu)
        for variable in asked(TABLE, all_inputs=all_inputs, gpu=gpu)
    }
    roles = [
        _role_6(machine, ids[machine], all_inputs=all_inputs, gpu=gpu)
        if form is Form.SIX
        else _role_7(machine, ids[machine])
        for machine in Machine
    ]
    return {
        "name": NAME,
        "description": DESCRIPTION,
        "deployment": "straight",
        "ready_status_gate": True,
        "networks": NETWORKS,
        # Sunstone asks for inputs of the service, not for those of a role.
        "custom_attrs" if form is Form.SIX else "user_inputs": inputs,
        "roles": roles,
    }


def contents_6(machine: Machine, *, all_inputs: bool = False, gpu: bool = False) -> str:
    """Return the lines that OneFlow 6 adds to the role's VM template.

    Each variable refers to itself, because the substitution of ``$KEY`` also changes longer names that begin
    with it. Only inputs of the service are listed: without an answer the value would be the text ``$KEY``.
    """
    variables = asked(machine.variables(), all_inputs=all_inputs, gpu=gpu)
    names = [name_in(Form.SIX, variable) for variable in variables]
    references = [attribute(name, f"${name}") for name in names]
    return template([vector("NIC", {"NETWORK_ID": f"${NETWORK}"}), *references])


def name_in(form: Form, variable: Variable) -> str:
    """Return the name of an input: its second name in OneFlow 6, where it begins with that of another.

    OneFlow 6 replaces ``$FL_APP`` in ``$FL_APP_CONFIG``, too.
    """
    begun = any(variable.name != each.name and variable.name.startswith(each.name) for each in TABLE)
    return variable.alias if form is Form.SIX and begun else variable.name


def _order(machine: Machine) -> dict[str, Any]:
    if machine is Machine.SUPERLINK:
        return {"name": machine.value, **SUPERLINKS}
    return {"name": machine.value, "parents": [Machine.SUPERLINK.value], **SUPERNODES}


def _role_6(machine: Machine, template_id: int, *, all_inputs: bool, gpu: bool) -> dict[str, Any]:
    return {
        **_order(machine),
        "vm_template": template_id,
        "vm_template_contents": contents_6(machine, all_inputs=all_inputs, gpu=gpu),
        "elasticity_policies": [],
        "scheduled_policies": [],
    }


def _role_7(machine: Machine, template_id: int) -> dict[str, Any]:
    # OneFlow 7 itself adds the service's inputs to the CONTEXT of every role.
    return {
        **_order(machine),
        "type": "vm",
        "template_id": template_id,
        "template_contents": {"NIC": [{"NETWORK_ID": f"${NETWORK}"}]},
        "elasticity_policies": [],
        "scheduled_policies": [],
    }
