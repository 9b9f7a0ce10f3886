import pytest

from distax.cli.main import main

NAME = "simulated_seed0_4_2_2"


@pytest.mark.parametrize("name", [NAME, f"csist100k/{NAME}"])
def test_csist_100k_needs_no_dataset_before_its_name(name, tmp_path, capsys):
    main(["build-dataset", name, "--data-dir", str(tmp_path)])
    folder = tmp_path / "csist100k" / NAME / "1.0.0"
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}: {split}, {size} images"
        for split, size in (("train", 4), ("validation", 2), ("test", 2))
    ]


def test_an_unknown_dataset_is_named_with_those_that_are_known(tmp_path):
    with pytest.raises(SystemExit, match=r"unknown dataset 'csist': .* csist100k, seqcsist"):
        main(["build-dataset", "csist/simulated", "--data-dir", str(tmp_path)])
