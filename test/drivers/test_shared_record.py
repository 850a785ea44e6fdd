"""SharedRecord: values that belong together, also while another process writes them."""

import mmap
import multiprocessing
import os

import numpy as np
import pytest

from latent_policy_ros.drivers.simulated.shared_record import SharedRecord

COUNT, ROUNDS = 40, 20_000


@pytest.fixture
def file():
    file = os.memfd_create("record")
    os.truncate(file, SharedRecord.size(COUNT))
    yield file
    os.close(file)


def record(file):
    return SharedRecord(mmap.mmap(file, SharedRecord.size(COUNT)), 0, COUNT)


def write(file):
    written = record(file)
    for number in range(1, ROUNDS + 1):
        written.write(np.full(COUNT, float(number)))


def test_nothing_is_read_before_the_first_values(file):
    written = record(file)
    assert written.read() is None
    written.write(np.zeros(COUNT))
    np.testing.assert_array_equal(record(file).read(), np.zeros(COUNT))


def test_half_written_values_are_not_read(file):
    written = record(file)
    written.write(np.zeros(COUNT))
    written._values[3] = 1.0
    assert written.read() is None


def test_values_read_while_another_process_writes_belong_together(file):
    writer = multiprocessing.get_context("fork").Process(target=write, args=(file,))
    reader, seen = record(file), set()
    writer.start()
    while writer.is_alive():
        if (values := reader.read()) is not None:
            assert np.ptp(values) == 0.0
            seen.add(values[0])
    writer.join()
    assert writer.exitcode == 0 and reader.read()[0] == ROUNDS and len(seen) > 10
