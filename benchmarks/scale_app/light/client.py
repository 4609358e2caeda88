"""Nothing: the light nodes of `benchmarks/light_nodes.py` answer by themselves."""

from flwr.clientapp import ClientApp

app = ClientApp()
