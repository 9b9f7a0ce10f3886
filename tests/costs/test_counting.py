import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from distax.compilation.programs import without_cache
from distax.compilation.topology import open_topology
from distax.costs import Collective, Cost, cost_of
from distax.costs.hlo import Shape, parse
from distax.runtime.sharding import mean_over_devices, sharded

LOOP = """HloModule loop, is_scheduled=true

%body (state: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %state = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %number = s32[]{:T(128)} get-tuple-element(%state), index=0
  %values = f32[8,128]{1,0:T(8,128)} get-tuple-element(%state), index=1
  %doubled = f32[8,128]{1,0:T(8,128)S(1)} add(%values, %values)
  %summed = f32[8,128]{1,0:T(8,128)} all-reduce(%doubled), channel_id=1, to_apply=%add
  ROOT %next = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) tuple(%number, %summed)
}

%condition (state.1: (s32[], f32[8,128])) -> pred[] {
  %state.1 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %number.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  %limit = s32[]{:T(128)} constant(LIMIT)
  ROOT %again = pred[]{:T(512)} compare(%number.1, %limit), direction=DIRECTION
}

ENTRY %main (argument: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %argument = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  ROOT %loop = (s32[]{:T(128)}, f32[8,128]{1,0}) while(%argument), condition=%condition, body=%body
}
"""


def loop(limit=5, direction="LT"):
    return parse(LOOP.replace("LIMIT", str(limit)).replace("DIRECTION", direction))


def test_arrays_fill_tiles_and_lie_on_the_chip_or_off_it():
    text = (
        "ENTRY %main () -> bf16[3,5] {\n"
        "  %a = bf16[3,5]{1,0:T(8,128)(2,1)S(1)} parameter(0)\n"
        "  ROOT %b = (f32[2,9]{0,1:T(8,128)}, pred[7]{0}) custom-call(%a)\n}\n"
    )
    (computation,) = parse(text).computations.values()
    assert computation["a"].shapes == (Shape((3, 5), 8 * 128 * 2, True),)
    assert computation["b"].shapes == (
        Shape((2, 9), 16 * 128 * 4, False),
        Shape((7,), 7, False),
    )
    assert computation["b"].operands == ("a",)


def test_every_turn_of_a_loop_counts():
    cost, size = cost_of(loop(5)), 8 * 128 * 4
    assert cost.flops == 5 * (2 * 8 * 128)
    assert cost.bytes_accessed == 5 * 5 * size
    assert cost.memory_bytes == 5 * 3 * size
    assert cost.collectives == {"all-reduce": Collective(5, 5 * size)}
    assert cost.open_loops == 0


def test_a_loop_whose_end_depends_on_the_data_counts_once_and_is_named():
    cost = cost_of(loop(direction="NE"))
    assert cost.open_loops == 1
    assert cost.collectives["all-reduce"].count == 1


def test_costs_add_and_multiply():
    one = Cost(1, 2, 3, {"all-reduce": Collective(1, 4)}, 1)
    assert one + one == Cost(2, 4, 6, {"all-reduce": Collective(2, 8)}, 2)
    assert one.times(3) == Cost(3, 6, 9, {"all-reduce": Collective(3, 12)}, 1)


@pytest.fixture(scope="module")
def topology():
    return open_topology("v5e:2x2")


def compiled(function, topology, *shapes):
    rows = sharded(topology.mesh)
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows) for shape in shapes]
    with without_cache():
        return jax.jit(function).lower(*arguments).compile()


def test_without_loops_costs_are_the_compilers(topology):
    def function(maps, kernel):
        maps = jax.lax.conv_general_dilated(
            maps, kernel[:, :, 0], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.sum(jnp.tanh(maps) @ kernel[0, 0, 0], axis=(1, 2))

    program = compiled(function, topology, (64, 48, 48, 128), (4, 3, 1, 128, 128))
    cost, theirs = cost_of(parse(program.as_text())), program.cost_analysis()
    assert cost.flops == pytest.approx(theirs["flops"], rel=0.2)
    assert cost.bytes_accessed == pytest.approx(theirs["bytes accessed"], rel=0.2)


def test_between_slices_each_chip_sends_its_part_once():
    mesh = open_topology("2xv5e:2x2").mesh
    average = jax.shard_map(
        lambda values: mean_over_devices(values, mesh),
        mesh=mesh,
        in_specs=sharded(mesh).spec,
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    numbers = 2**16
    values = jax.ShapeDtypeStruct((8, numbers), jnp.float32, sharding=sharded(mesh))
    with without_cache():
        cost = cost_of(parse(jax.jit(average).lower(values).compile().as_text()))
    between = cost.collectives.pop("all-reduce between slices")
    assert between == Collective(1, 4 * numbers // 4)
    assert sum(within.count for within in cost.collectives.values()) == 2


def test_a_compiled_loop_counts_its_turns(topology):
    def turns(number):
        def function(x):
            return jax.lax.scan(lambda x, _: (jnp.tanh(x @ x.mT), None), x, length=number)[0]

        return cost_of(parse(compiled(function, topology, (4, 512, 512)).as_text()))

    few, many = turns(10), turns(30)
    assert few.flops >= 10 * 2 * 512**3
    assert many.flops == pytest.approx(3 * few.flops, rel=0.01)
    assert many.open_loops == 0
