import numpy as np

from mrkd.api.metrics import metric_columns


def test_rows_become_columns_of_numbers_with_nan_where_nothing_was_logged():
    columns = metric_columns(
        [
            {"step": 0, "knn": 12.5},
            {"step": 5, "loss": 2, "terms": {"rkd-distance/cls": 0.5, "text": "a"}, "verdict": "healthy", "odd": True},
        ]
    )
    assert list(columns) == ["step", "knn", "loss", "terms/rkd-distance/cls"]
    assert columns["step"].tolist() == [0, 5]
    assert columns["step"].dtype == np.int64
    np.testing.assert_array_equal(columns["knn"], [12.5, np.nan])
    np.testing.assert_array_equal(columns["loss"], [np.nan, 2.0])
    np.testing.assert_array_equal(columns["terms/rkd-distance/cls"], [np.nan, 0.5])


def test_a_run_without_rows_has_an_empty_column_of_steps():
    columns = metric_columns([])
    assert list(columns) == ["step"]
    assert len(columns["step"]) == 0
