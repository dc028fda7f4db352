from whichbits.serving.saturation import saturated


def test_a_sweep_ends_where_a_doubling_gains_under_five_percent():
    assert not saturated([])
    assert not saturated([1.0])
    assert not saturated([1.0, 1.06])
    assert saturated([1.0, 1.9, 1.95])
