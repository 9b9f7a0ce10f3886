import jax
import numpy as np
import pytest

from distax import Unmixer
from distax.cli.main import main
from distax.export import load
from distax.imaging.scenes import simulate


def test_a_run_becomes_a_file_that_answers_as_it_does(tiny_run, tmp_path, capsys):
    path = tmp_path / "tiny.distax"
    options = ["--checkpoint", str(tiny_run), "--threshold", "20", "--platforms", "cpu", "tpu"]
    main(["export", str(path), *options])
    size = path.stat().st_size / 1e6
    assert capsys.readouterr().out == (
        f"{path}: Dista, images of 11×11 px to intensity, mask, position, score; for cpu, tpu; "
        f"{size:.1f} MB\n"
    )
    images = np.asarray(simulate(jax.random.key(4), 3)[0])
    found, expected = load(path)(images), Unmixer.load(tiny_run, threshold=20.0)(images)
    assert expected.mask.any()
    np.testing.assert_array_equal(found["mask"], expected.mask)
    np.testing.assert_allclose(found["intensity"], expected.intensity, rtol=1e-3)
    np.testing.assert_allclose(found["position"], expected.position, rtol=1e-5)


def test_a_grid_model_can_be_written_without_its_threshold(tmp_path, capsys):
    main(["export", str(tmp_path / "ista.distax"), "--checkpoint", "ista", "--grid"])
    assert "Ista, images of 11×11 px to grid; for cpu, cuda, tpu; " in capsys.readouterr().out


def test_a_model_of_sequences_in_a_file_of_ones_own_can_be_written(later, tmp_path, capsys):
    path, (module, file) = tmp_path / "later.distax", later
    model = ["--checkpoint", str(file), "--model.module", str(module)]
    main(["export", str(path), *model, "--platforms", "cpu"])
    assert capsys.readouterr().out.startswith(
        f"{path}: Later, sequences of 20 images of 11×11 px, of which 1 to 18 are answered, to "
        "intensity, mask, position, score; for cpu; "
    )
    frames = np.zeros((1, 20, 11, 11))
    frames[0, np.arange(20), 4, np.arange(20) % 11] = 100.0
    found = load(path)(frames)
    np.testing.assert_array_equal(found["position"][0, :, 0, 1], np.arange(2, 20) % 11)
    assert found["mask"].sum() == 18
    main(["export", str(path), *model, "--frames", "6", "--grid"])
    printed = "Later, sequences of 6 images of 11×11 px, of which 1 to 4 are answered, to grid; for"
    assert printed in capsys.readouterr().out
    with pytest.raises(SystemExit, match="a model of sequences; leave --method and --sensor out"):
        main(["export", str(path), *model, "--method", "fast"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "posterior"], "the method posterior cannot be exported"),
        (["--checkpoint", "none"], "unknown model 'none'"),
        (["--method", "grid"], "the method grid needs a trained model: name one by --checkpoint"),
        (["--grid"], "the method fast has no grid"),
        (["--frames", "20"], "frames has an effect on models of sequences only; leave it out"),
    ],
)
def test_what_cannot_be_exported_is_an_error_of_one_line(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["export", "a.distax", *options])
    assert message in str(stop.value)
    assert "\n" not in str(stop.value)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"cannot be written \(File name too long\)$"):
        main(["export", f"{'a' * 300}.distax", "--checkpoint", "ista", "--platforms", "cpu"])
