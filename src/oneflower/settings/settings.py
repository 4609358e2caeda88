"""The settings of a machine: those of the training, and how processes, addresses, TLS and GPUs are set up."""

from dataclasses import dataclass

from oneflower.settings.cuda_devices import ALL_DEVICES, CUDA_DEVICES
from oneflower.settings.formats import CONNECT_ADDRESS, LISTEN_ADDRESS, NODE_CONFIG, RELATIVE_PATH
from oneflower.settings.pem import CERTIFICATE, PRIVATE_KEY, PUBLIC_KEYS
from oneflower.settings.programs import ProgramSettings
from oneflower.settings.tokens import KEY, TOKEN
from oneflower.settings.values import Boolean, Choice, Decimal, Integer, Password, Text, Text64
from oneflower.settings.variable import Consumer, Role, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ProgramSettings):
    """All settings, and their rows. What an app reads is declared in TrainingConfig.

    The `ssl_` fields are base64 of PEM on one line, or empty, in whatever form they were given.
    """

    fleet_api_address: str = variable(
        name="FL_FLEET_API_ADDRESS",
        label="Fleet API address (host:port)",
        kind=Text(LISTEN_ADDRESS),
        default="0.0.0.0:9092",
        role=Role.SUPERLINK,
        consumers=Consumer.CONTAINER | Consumer.SUPERVISOR,
        help="Address on which the SuperLink listens for SuperNodes",
    )
    control_api_address: str = variable(
        name="FL_CONTROL_API_ADDRESS",
        label="Control API address (host:port)",
        kind=Text(LISTEN_ADDRESS),
        default="127.0.0.1:9093",
        role=Role.SUPERLINK,
        consumers=Consumer.CONTAINER | Consumer.SUPERVISOR,
        help="Address for commands, such as flwr run; on loopback a Unix socket of the SuperLink's user",
    )
    control_token: str = variable(
        name="FL_CONTROL_TOKEN",
        label="Control API access token",
        kind=Password(TOKEN),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.SUPERLINK | Consumer.SUPERVISOR,
        secret=True,
        needs="FL_FLOWER_WORKAROUNDS",
        help="Access token for commands from other machines, at least 16 characters; needs TLS",
    )
    isolation: str = variable(
        name="FL_ISOLATION",
        label="App process isolation",
        kind=Choice(("subprocess", "process")),
        default="subprocess",
        role=Role.BOTH,
        consumers=Consumer.CONTAINER | Consumer.SUPERVISOR,
        help="Who starts the app processes: Flower itself (subprocess) or a separate service (process)",
    )
    database: str = variable(
        name="FL_DATABASE",
        label="SuperLink database file",
        kind=Text(RELATIVE_PATH),
        default="state/state.db",
        role=Role.SUPERLINK,
        consumers=Consumer.CONTAINER | Consumer.SUPERVISOR,
        help="Database file of the SuperLink, relative to its state folder",
    )
    checkpoint_key: str = variable(
        name="FL_CHECKPOINT_KEY",
        label="Checkpoint signing key",
        kind=Password(KEY),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.SUPERLINK,
        secret=True,
        help="Key that signs the checkpoints, at least 32 characters; others are then refused",
    )
    dashboard_address: str = variable(
        name="FL_DASHBOARD_ADDRESS",
        label="Dashboard address (host:port)",
        kind=Text(LISTEN_ADDRESS),
        default="127.0.0.1:8265",
        role=Role.SUPERLINK,
        consumers=Consumer.CONTAINER | Consumer.SUPERVISOR,
        help="Address of the dashboard and the metrics; FL_DASHBOARD_TOKEN is required beyond loopback",
    )
    dashboard_token: str = variable(
        name="FL_DASHBOARD_TOKEN",
        label="Dashboard access token",
        kind=Password(TOKEN),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.CONTAINER | Consumer.SUPERVISOR,
        secret=True,
        help="Access token for the dashboard and the metrics, at least 16 characters",
    )
    tls_enabled: bool = variable(
        name="FL_TLS_ENABLED",
        label="Encrypt connections (TLS)",
        kind=Boolean(),
        default=True,
        role=Role.BOTH,
        consumers=Consumer.CONTAINER | Consumer.SUPERVISOR,
        help="Encrypt the connections between SuperNodes and SuperLink",
    )
    ssl_ca_certfile: str = variable(
        name="FL_SSL_CA_CERTFILE",
        label="CA certificate (PEM)",
        kind=Text64(CERTIFICATE),
        default="",
        role=Role.BOTH,
        consumers=Consumer.CONTAINER,
        needs="FL_TLS_ENABLED",
        help="CA certificate, PEM or base64 of PEM; if empty, a CA is created and its certificate published",
    )
    ssl_certfile: str = variable(
        name="FL_SSL_CERTFILE",
        label="SuperLink certificate (PEM)",
        kind=Text64(CERTIFICATE),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.CONTAINER,
        needs="FL_TLS_ENABLED",
        help="Certificate of the SuperLink, PEM or base64 of PEM; if empty, one is created",
    )
    ssl_keyfile: str = variable(
        name="FL_SSL_KEYFILE",
        label="SuperLink private key (PEM)",
        kind=Text64(PRIVATE_KEY),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.CONTAINER,
        needs="FL_TLS_ENABLED",
        secret=True,
        help="Private key of the SuperLink certificate, PEM or base64 of PEM; if empty, one is created",
    )
    node_auth: bool = variable(
        name="FL_NODE_AUTH",
        label="Only known SuperNodes may join",
        kind=Boolean(),
        default=True,
        role=Role.BOTH,
        consumers=Consumer.CONTAINER | Consumer.SUPERVISOR,
        needs="FL_TLS_ENABLED",
        help="Let only SuperNodes join whose public key the SuperLink knows; it takes effect with TLS",
    )
    node_keys: str = variable(
        name="FL_NODE_KEYS",
        label="Public keys of SuperNodes (PEM)",
        kind=Text64(PUBLIC_KEYS),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.SUPERLINK,
        needs="FL_NODE_AUTH",
        help="Public keys of SuperNodes outside the service, PEM or base64 of PEM, one after another",
    )
    superlink_address: str = variable(
        name="FL_SUPERLINK_ADDRESS",
        label="SuperLink address (host:port)",
        kind=Text(CONNECT_ADDRESS),
        default="",
        role=Role.SUPERNODE,
        consumers=Consumer.CONTAINER,
        help="Address of the SuperLink; if empty, it is found through OneGate",
    )
    node_config: str = variable(
        name="FL_NODE_CONFIG",
        label="Node config (key=value pairs)",
        kind=Text(NODE_CONFIG),
        default="",
        role=Role.SUPERNODE,
        consumers=Consumer.CONTAINER,
        help="Pairs key=value for the ClientApp; without partition-id and num-partitions, both are assigned",
    )
    max_retries: int = variable(
        name="FL_MAX_RETRIES",
        label="Maximum connection retries",
        kind=Integer(unit="retries"),
        default=0,
        role=Role.SUPERNODE,
        consumers=Consumer.CONTAINER,
        help="Failed connections to the SuperLink after which the SuperNode exits; 0 for no limit",
    )
    max_wait_time: int = variable(
        name="FL_MAX_WAIT_TIME",
        label="Maximum connection wait (seconds)",
        kind=Integer(unit="seconds"),
        default=0,
        role=Role.SUPERNODE,
        consumers=Consumer.CONTAINER,
        help="Time without a connection to the SuperLink after which the SuperNode exits; 0 for no limit",
    )

    gpu_enabled: bool = variable(
        name="FL_GPU_ENABLED",
        label="Train on GPUs",
        kind=Boolean(),
        default=False,
        role=Role.SUPERNODE,
        consumers=Consumer.SUPERNODE | Consumer.CONTAINER,
        help="Give the NVIDIA GPUs of the machine to the ClientApps; with NO they see none",
    )
    cuda_visible_devices: str = variable(
        name="FL_CUDA_VISIBLE_DEVICES",
        label="GPUs to use",
        kind=Text(CUDA_DEVICES),
        default=ALL_DEVICES,
        role=Role.SUPERNODE,
        consumers=Consumer.SUPERNODE | Consumer.CONTAINER,
        needs="FL_GPU_ENABLED",
        help="GPUs that ClientApps may use: all, numbers in PCI bus order, or UUIDs of GPUs or MIG devices",
        hint="numbers count from 0 in PCI bus order: 0,1 is the first two GPUs",
    )
    gpu_memory_fraction: float = variable(
        name="FL_GPU_MEMORY_FRACTION",
        label="GPU memory per client",
        kind=Decimal(minimum=0.0, maximum=1.0, above_minimum=True),
        default=0.8,
        role=Role.SUPERNODE,
        consumers=Consumer.SUPERNODE | Consumer.CONTAINER,
        needs="FL_GPU_ENABLED",
        help="Share of the memory of a GPU that PyTorch may reserve in one ClientApp",
        hint="0.8 is 80 percent of the memory of a GPU",
    )
    gpu_required: bool = variable(
        name="FL_GPU_REQUIRED",
        label="Never train without a GPU",
        kind=Boolean(),
        default=False,
        role=Role.SUPERNODE,
        consumers=Consumer.SUPERNODE | Consumer.CONTAINER,
        needs="FL_GPU_ENABLED",
        help="Where no GPU can be used, stop with an error; with NO a warning is logged and processors train",
    )

    @property
    def authenticates_nodes(self) -> bool:
        """Whether only SuperNodes with a known key may join: Flower asks for TLS with it."""
        return self.node_auth and self.tls_enabled
