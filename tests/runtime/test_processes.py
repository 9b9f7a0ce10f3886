import pytest

from distax import DistaxError
from distax.cli.main import main
from distax.runtime import processes as clusters
from distax.runtime.processes import Cluster, join, member


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (Cluster("10.0.0.1:80", 2), "give all three or none"),
        (Cluster(process_id=1), "give all three or none"),
        (Cluster("10.0.0.1", 2, 0), "an address and a port such as 10.0.0.1:8476, not '10.0.0.1'"),
        (Cluster("10.0.0.1:80", 2, 2), "process 2 is not one of 2: they are numbered from 0"),
        (Cluster("10.0.0.1:80", 2, -1), "process -1 is not one of 2"),
    ],
)
def test_a_cluster_badly_described_is_refused_at_once(cluster, message):
    with pytest.raises(DistaxError, match=message):
        join(cluster)


def test_a_cluster_without_distributed_is_a_mistake():
    with pytest.raises(SystemExit) as exit_:
        main(["train", "--cluster.process-count", "2"])
    assert str(exit_.value) == "distax: the options of --cluster need --distributed"


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyboardInterrupt(), 130, "distax: interrupted"),
        (DistaxError("no such thing"), 1, "distax: no such thing"),
        (OSError("unforeseen"), 1, "distax: ended by the error above"),
    ],
)
def test_whatever_ends_a_member_ends_it_without_waiting(monkeypatch, capsys, error, status, told):
    monkeypatch.setattr(clusters, "join", lambda cluster: None)
    monkeypatch.setattr(clusters.os, "_exit", exit)
    with pytest.raises(SystemExit) as exit_, member(Cluster()):
        raise error
    assert exit_.value.code == status
    assert capsys.readouterr().err.splitlines()[-1] == told
