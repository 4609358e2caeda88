"""The variables that say how the machines run: processes, addresses, TLS."""

from oneflower.settings.formats import (
    CERTIFICATE,
    CONNECT_ADDRESS,
    LISTEN_ADDRESS,
    NODE_CONFIG,
    PRIVATE_KEY,
    RELATIVE_PATH,
    TOKEN,
)
from oneflower.settings.variable import Kind, Role, Variable

PROCESSES = (
    Variable(
        name="FL_WARM_EXECUTOR",
        label="Warm executor",
        kind=Kind.BOOLEAN,
        default=True,
        role=Role.SUPERNODE,
        help="Handle each message in a forked child of one warm process",
    ),
    Variable(
        name="FL_FLOWER_WORKAROUNDS",
        label="Workarounds for Flower defects",
        kind=Kind.BOOLEAN,
        default=True,
        role=Role.BOTH,
        help="Guard against the known defects of Flower 1.25.0",
    ),
    Variable(
        name="FL_FLOWER_SPEEDUPS",
        label="Speed-ups for Flower",
        kind=Kind.BOOLEAN,
        default=True,
        role=Role.BOTH,
        help="Apply the workarounds that only save time; without effect where FL_FLOWER_WORKAROUNDS is NO",
    ),
    Variable(
        name="FL_MAX_RESTARTS",
        label="Consecutive restarts tolerated",
        kind=Kind.NUMBER,
        default=10,
        minimum=0,
        unit="restarts",
        role=Role.SUPERLINK,
        help="Restarts in a row without a completed round, before the training fails",
    ),
)

SUPERLINK = (
    Variable(
        name="FL_FLEET_API_ADDRESS",
        label="Fleet API address (host:port)",
        kind=Kind.TEXT,
        default="0.0.0.0:9092",
        format=LISTEN_ADDRESS,
        role=Role.SUPERLINK,
        help="Address where the SuperLink listens for SuperNodes (Fleet API)",
    ),
    Variable(
        name="FL_CONTROL_API_ADDRESS",
        label="Control API address (host:port)",
        kind=Kind.TEXT,
        default="127.0.0.1:9093",
        format=LISTEN_ADDRESS,
        role=Role.SUPERLINK,
        help="Address where the SuperLink listens for commands (Control API)",
    ),
    Variable(
        name="FL_ISOLATION",
        label="App process isolation",
        kind=Kind.LIST,
        default="subprocess",
        choices=("subprocess", "process"),
        role=Role.BOTH,
        help="Who starts the app processes: Flower itself (subprocess) or separate services (process)",
    ),
    Variable(
        name="FL_DATABASE",
        label="SuperLink database file",
        kind=Kind.TEXT,
        default="state/state.db",
        format=RELATIVE_PATH,
        role=Role.SUPERLINK,
        help="Database file of the SuperLink, relative to its folder",
    ),
    Variable(
        name="FL_LOG_LEVEL",
        label="Log level",
        kind=Kind.LIST,
        default="INFO",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        role=Role.BOTH,
        run_config_key="log-level",
        help="Least severe log lines that are written",
    ),
)

DASHBOARD = (
    Variable(
        name="FL_DASHBOARD_ADDRESS",
        label="Dashboard address (host:port)",
        kind=Kind.TEXT,
        default="127.0.0.1:8265",
        format=LISTEN_ADDRESS,
        role=Role.SUPERLINK,
        help="Where the live page and the metrics listen; any but this machine needs FL_DASHBOARD_TOKEN",
    ),
    Variable(
        name="FL_DASHBOARD_TOKEN",
        label="Dashboard access token",
        kind=Kind.PASSWORD,
        default="",
        format=TOKEN,
        secret=True,
        role=Role.SUPERLINK,
        help="Access token for the live page and the metrics, 16 characters or more",
    ),
)

TLS = (
    Variable(
        name="FL_TLS_ENABLED",
        label="Encrypt connections (TLS)",
        kind=Kind.BOOLEAN,
        default=True,
        role=Role.BOTH,
        help="Encrypt the connections between SuperNodes and SuperLink",
    ),
    Variable(
        name="FL_SSL_CA_CERTFILE",
        label="CA certificate (PEM)",
        kind=Kind.TEXT64,
        default="",
        format=CERTIFICATE,
        role=Role.BOTH,
        help="CA certificate, PEM or base64 of PEM; if empty, one is made and handed out",
    ),
    Variable(
        name="FL_SSL_CERTFILE",
        label="SuperLink certificate (PEM)",
        kind=Kind.TEXT64,
        default="",
        format=CERTIFICATE,
        role=Role.SUPERLINK,
        help="Certificate of the SuperLink, PEM or base64 of PEM; if empty, one is made",
    ),
    Variable(
        name="FL_SSL_KEYFILE",
        label="SuperLink private key (PEM)",
        kind=Kind.TEXT64,
        default="",
        format=PRIVATE_KEY,
        secret=True,
        role=Role.SUPERLINK,
        help="Private key of the SuperLink certificate, PEM or base64 of PEM; if empty, one is made",
    ),
)

SUPERNODE = (
    Variable(
        name="FL_SUPERLINK_ADDRESS",
        label="SuperLink address (host:port)",
        kind=Kind.TEXT,
        default="",
        format=CONNECT_ADDRESS,
        role=Role.SUPERNODE,
        help="Address of the SuperLink; empty finds it through OneGate",
    ),
    Variable(
        name="FL_NODE_CONFIG",
        label="Node config (key=value pairs)",
        kind=Kind.TEXT,
        default="",
        format=NODE_CONFIG,
        role=Role.SUPERNODE,
        help="Pairs key=value for the app; empty computes partition-id and num-partitions",
    ),
    Variable(
        name="FL_MAX_RETRIES",
        label="Maximum connection retries",
        kind=Kind.NUMBER,
        default=0,
        minimum=0,
        unit="tries",
        role=Role.SUPERNODE,
        help="Tries to connect to the SuperLink before the SuperNode gives up; 0 is without limit",
    ),
    Variable(
        name="FL_MAX_WAIT_TIME",
        label="Maximum connection wait (seconds)",
        kind=Kind.NUMBER,
        default=0,
        minimum=0,
        unit="seconds",
        role=Role.SUPERNODE,
        help="Seconds of tries to connect before the SuperNode gives up; 0 is without limit",
    ),
)

CLUSTER_TABLE = PROCESSES + SUPERLINK + DASHBOARD + TLS + SUPERNODE
