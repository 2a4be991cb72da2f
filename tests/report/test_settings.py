import pytest
from pydantic import ValidationError

from xmr_ray.report.settings import ReportSettings


def test_the_configurations_report_section_is_accepted():
    from xmr_ray import config

    assert ReportSettings(**config.ReportSettings().model_dump()).bought_per_round == 12


@pytest.mark.parametrize("wrong", [{"confidence": 1.0}, {"num_retrieved": 0}, {"label_axis": "cubic"}, {"colour": "red"}])
def test_what_cannot_be_shown_is_refused(wrong):
    with pytest.raises(ValidationError):
        ReportSettings(**wrong)
