"""The receiver's bench on a few images: the table, the limits and the soak are made of real runs."""

from gsco_pacs.evaluation.bench_limits import measure_limits
from gsco_pacs.evaluation.bench_objects import SMALL
from gsco_pacs.evaluation.bench_receive import ReceiveBench, bench_receive, receive_table
from gsco_pacs.evaluation.bench_soak import soak


def test_every_server_is_measured_and_compared_with_both_others() -> None:
    rates = bench_receive(ReceiveBench(objects=4, large=0, rounds=1, associations=(2,)), lambda _: None)
    assert {rate.server for rate in rates} == {"gsco_pacs", "Orthanc", "DCMTK storescp"}
    assert all(rate.images_per_second > 0 for rate in rates)
    table = receive_table(rates).splitlines()
    assert len(table) == 2 + 3
    assert {line.count("|") for line in table} == {10}


def test_the_limits_are_in_the_order_of_what_is_waited_for() -> None:
    rows = [line.split("|") for line in measure_limits(SMALL).splitlines()[2:]]
    milliseconds = {row[1].strip(): float(row[2]) for row in rows}
    socket_only, with_disk = list(milliseconds.values())[-2:]
    assert len(milliseconds) == 6
    assert socket_only < with_disk


def test_a_soak_prints_memory_for_all_images() -> None:
    table = soak(200, lambda _: None, steps=2).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["100", "200"]
    assert all(float(line.split("|")[3]) > 10 for line in table[2:])
