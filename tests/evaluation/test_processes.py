import json
import os
import socket
import subprocess
import sys

import jax
from flax import nnx

from distax import Sensor, models
from distax.evaluation import evaluate
from distax.imaging.scenes import ScenePrior, simulate

OPTIONS = {"stages": 1, "channels": 4, "hidden": 8}


def evaluation():
    model = models.create("dista", rngs=nnx.Rngs(0), **OPTIONS)
    images, truth = simulate(jax.random.key(0), 37)
    how = {"threshold": 10.0, "batch_size": 4, "prior": ScenePrior()}
    return evaluate(model, images, truth, Sensor(), **how).to_dict()


PROCESS = f"""
import json, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from distax.runtime.processes import Cluster, join

join(Cluster(sys.argv[1], 2, int(sys.argv[2]), timeout=120))
from test_processes import evaluation

print(json.dumps(evaluation()))
"""


def test_two_processes_evaluate_to_the_last_bit_like_one_device():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(number)],
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    results = [process.communicate(timeout=240)[0].splitlines()[-1] for process in processes]
    expected = json.loads(json.dumps(evaluation()))
    assert [json.loads(result) for result in results] == [expected, expected]
    assert expected["images"] == 37
    assert 0 < expected["cso_map"] < 1
