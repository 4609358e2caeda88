"""Run the training of `peers.py` by NVFlare's POC mode: a server and three sites as processes, with TLS."""

import shutil
import sys
from pathlib import Path

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe.poc_env import PocEnv
from task import Net, folder

recipe = FedAvgRecipe(
    name="peer",
    model=Net(),
    min_clients=3,
    num_rounds=int(sys.argv[1]),
    train_script=str(Path(__file__).parent / "client.py"),
)
environment = PocEnv(num_clients=3, extra={"login_timeout": 60})
run = recipe.execute(environment)
result = environment.get_job_result(run.job_id, timeout=300)
models = sorted(Path(result or "/nowhere").rglob("FL_global_model.pt"))
if not models:
    raise SystemExit(f"the job has left no model in {result}: {run.get_status()}")
shutil.copy(models[0], folder() / "model.pt")
(folder() / "finished").touch()  # the time until here counts; what follows is tidying up
environment.stop(clean_up=True)
