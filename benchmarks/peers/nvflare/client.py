"""The training script of each NVFlare site."""

import nvflare.client as flare
from task import Net, accuracy, note_round, train

flare.init()
client = int(flare.get_site_name().split("-")[1]) - 1
while flare.is_running():
    received = flare.receive()
    if received is None:
        break
    if client == 0:
        note_round()
    model = Net()
    model.load_state_dict(received.params)
    measured = accuracy(model, f"validation-{client}")
    examples = train(model, client)
    flare.send(
        flare.FLModel(
            params=model.state_dict(),
            metrics={"accuracy": measured},
            meta={"NUM_STEPS_CURRENT_ROUND": examples},
        )
    )
