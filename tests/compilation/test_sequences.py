"""Programs of a model of sequences for chips that are not there, lowered but not compiled."""

from dataclasses import replace

import jax
import pytest

from distax import DistaxError
from distax.compilation import compile_evaluation, compile_training, open_topology, programs
from distax.compilation.methods import trace_model
from distax.evaluation.sequence_sums import SequenceSums
from distax.training.building import abstract_model
from distax.training.config import ModelConfig, MotionConfig, TrainConfig
from tests.models.sizes import SEQUENCES

CONFIG = TrainConfig(
    model=ModelConfig("tdan", options=SEQUENCES["tdan"]), batch_size=4, steps_per_dispatch=2
)


@pytest.fixture(scope="module")
def topology():
    return open_topology("v5e:2x2")


@pytest.fixture
def lowered(monkeypatch, any_types):
    """Replaces the compilation: programs are lowered, with their arguments and images, by name."""
    found = {}

    def lower(name, function, arguments, images):
        found[name] = function(*arguments), arguments, images

    monkeypatch.setattr(programs, "_compile", lower)
    return found


def test_the_evaluation_takes_sequences_and_scores_the_frames_inside(topology, lowered):
    compile_evaluation(CONFIG, topology)
    program, (_, (frames, truth), index), images = lowered["evaluation"]
    # 25 sequences of 20 frames for each of four chips.
    assert images == 4 * 25
    assert (frames.shape, truth.mask.shape) == ((100, 20, 11, 11), (100, 20, 5))
    assert index.shape == (100,)
    assert frames.sharding.shard_shape(frames.shape) == (25, 20, 11, 11)
    assert isinstance(program.out_info, SequenceSums)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(program.out_info.by_frame)} == {16}


def test_sequences_are_rounded_up_to_whole_batches(topology, lowered):
    compile_evaluation(CONFIG, topology, images_per_chip=60)
    # A batch of 51 sequences has about the 1,024 frames that fill a chip.
    assert lowered["evaluation"][2] == 4 * 102


def test_the_training_takes_sequences(topology, lowered):
    compile_training(CONFIG, topology)
    _, (_, (frames, truth)), images = lowered["steps"]
    assert images == 2 * 4 * 4
    assert (frames.shape, truth.mask.shape) == ((2, 16, 20, 11, 11), (2, 16, 20, 5))
    assert frames.sharding.shard_shape(frames.shape) == (2, 4, 20, 11, 11)
    assert lowered["scenes"][0].out_info[0].shape == frames.shape


def test_what_does_not_suit_the_model_is_refused(topology):
    with pytest.raises(DistaxError, match="a sequence of 4 frames is too short"):
        compile_evaluation(replace(CONFIG, motion=MotionConfig(frames=4)), topology)
    with pytest.raises(DistaxError, match="Tdan takes sequences, which unmix does not"):
        trace_model(abstract_model(CONFIG))
