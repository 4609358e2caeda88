"""Run the training of `peers.py` by NVFlare's POC mode: a server and three sites as processes, with TLS.

``python job.py ROUNDS PORT``
"""

import shutil
import sys
from pathlib import Path

import nvflare.lighter
import yaml
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe.poc_env import PocEnv
from task import Net, folder


def project(port: int) -> Path:
    """Write NVFlare's own example project with our sites, and a port that is free."""
    found = yaml.safe_load((Path(nvflare.lighter.__file__).parent / "dummy_project.yml").read_text())
    others = [each for each in found["participants"] if each["type"] != "client"]
    for each in others:
        if each["type"] == "server":
            each.update(name="server", fed_learn_port=port, admin_port=port)
    sites = [{"name": f"site-{number}", "type": "client", "org": "nvidia"} for number in (1, 2, 3)]
    path = folder() / "project.yml"
    path.write_text(yaml.safe_dump({**found, "participants": [*others, *sites]}))
    return path


recipe = FedAvgRecipe(
    name="peer",
    model=Net(),
    min_clients=3,
    num_rounds=int(sys.argv[1]),
    train_script=str(Path(__file__).parent / "client.py"),
)
environment = PocEnv(
    num_clients=3, project_conf_path=str(project(int(sys.argv[2]))), extra={"login_timeout": 60}
)
run = recipe.execute(environment)
result = environment.get_job_result(run.job_id, timeout=300)
models = sorted(Path(result or "/nowhere").rglob("FL_global_model.pt"))
if not models:
    raise SystemExit(f"the job has left no model in {result}: {run.get_status()}")
shutil.copy(models[0], folder() / "model.pt")
(folder() / "finished").touch()  # the time until here counts; what follows is tidying up
environment.stop(clean_up=True)
