import pytest

from distax import DistaxError
from distax.cli.main import main
from distax.cluster import Cluster, join


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
