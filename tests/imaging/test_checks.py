import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.imaging.checks import as_counts, check_shape, find_problems

REAL = Sensor(saturation=None, bit_depth=None)


def stack(**values):
    """Makes six images of 7 counts; `image_<number>` sets one pixel of an image."""
    images = np.full((6, 11, 11), 7.0, np.float32)
    for name, value in values.items():
        images[int(name.removeprefix("image_")), 4, 9] = value
    return images


@pytest.mark.parametrize("shape", [(0, 11, 11), (3, 11, 11)])
def test_stacks_of_the_sensors_size_are_fine(shape):
    check_shape(np.zeros(shape), Sensor())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((11, 11), r"frames\.npy: an array of shape \(11, 11\); a stack of images has three axes"),
        ((2, 11, 11, 1), r"frames\.npy: an array of shape \(2, 11, 11, 1\)"),
        ((2, 11, 12), r"frames\.npy: 11×12 px, the sensor has 11×11; cut that window"),
    ],
)
def test_other_shapes_are_refused_by_name(shape, message):
    with pytest.raises(DistaxError, match=message):
        check_shape(np.zeros(shape), Sensor(), name="frames.npy")


@pytest.mark.parametrize(
    ("images", "name"),
    [
        (np.zeros(3, complex), "complex128"),
        (np.zeros(3, "datetime64[s]"), "datetime64"),
        (np.zeros(3, bool), "bool"),
        (np.array([None, 1.0]), "object"),
        ("abc", "<U3"),
    ],
)
def test_arrays_of_other_things_than_counts_are_refused_by_their_type(images, name):
    with pytest.raises(DistaxError, match=rf"a\.npy: an array of {name}.*, not of counts; convert"):
        as_counts(images, "a.npy")


def test_lists_of_images_of_several_sizes_are_refused():
    with pytest.raises(DistaxError, match=r"not an array of counts .* give images of one size"):
        as_counts([[1.0, 2.0], [3.0]])


def test_masked_pixels_are_unknown():
    masked = np.ma.masked_array([[1, 2], [3, 4]], mask=[[True, False], [False, False]])
    for images, expected in (
        (masked, [[np.nan, 2], [3, 4]]),
        (list(masked), [[np.nan, 2], [3, 4]]),
    ):
        counts = as_counts(images)
        assert counts.dtype == np.float32
        np.testing.assert_array_equal(counts, expected)
    assert as_counts(np.array([2**31 - 1]), wide=True)[0] == 2**31 - 1
    assert as_counts(np.array([1e300]))[0] == np.inf


@pytest.mark.parametrize("missing_allowed", [True, False])
def test_counts_the_sensor_can_deliver_are_no_problem(missing_allowed):
    images = stack(image_0=0.0, image_1=255.0, image_2=0.5)
    assert find_problems(images, Sensor(), missing_allowed) == {}
    assert find_problems(stack()[:0], Sensor(), missing_allowed) == {}


def test_each_bad_image_is_named_with_its_first_bad_pixel():
    images = stack(image_1=256.0, image_3=-1.0, image_4=np.inf)
    images[3, 8, 8] = 999.0
    problems = find_problems(images, Sensor(), missing_allowed=True)
    assert list(problems) == [1, 3, 4]
    assert problems[1].startswith("pixel (4, 9) is 256, outside the 0..255 counts of the sensor")
    assert problems[3].startswith("pixel (4, 9) is -1, outside")
    assert problems[4] == "pixel (4, 9) is infinite"


def test_counts_whose_squares_overflow_are_a_problem_for_every_sensor():
    ideal = Sensor(saturation=None, bit_depth=None)
    images = stack(image_1=1e18, image_2=1e15, image_3=-1e18, image_4=-1e15)
    problems = find_problems(images, ideal, missing_allowed=True)
    assert list(problems) == [1, 3]
    assert problems[1].startswith("pixel (4, 9) is 1e+18, outside the -1e+15..1e+15 counts of")


def test_nan_is_a_problem_only_where_every_pixel_has_to_be_known():
    images = stack(image_2=np.nan)
    assert find_problems(images, Sensor(), missing_allowed=True) == {}
    problems = find_problems(images, Sensor(), missing_allowed=False)
    assert problems == {2: "pixel (4, 9) is NaN or infinite; replace bad pixels first"}


def test_an_image_of_nan_alone_has_nothing_to_fit():
    images = stack()
    images[5] = np.nan
    problems = find_problems(images, Sensor(), missing_allowed=True)
    assert problems == {5: "every pixel is NaN; there is nothing to fit"}
    assert list(find_problems(images, Sensor(), missing_allowed=False)) == [5]


def test_the_allowed_range_of_counts_depends_on_the_sensor():
    images = stack(image_0=-3.0, image_1=300.0, image_2=5000.0)
    assert list(find_problems(images, Sensor(), True)) == [0, 1, 2]
    assert list(find_problems(images, Sensor(saturation=None, bit_depth=12), True)) == [0, 2]
    assert list(find_problems(images, Sensor(saturation=1000.0, bit_depth=None), True)) == [2]
    assert find_problems(images, REAL, True) == {}
