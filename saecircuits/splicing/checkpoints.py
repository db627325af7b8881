"""Checkpoints of Hugging Face models, refused where they are not whole.

transformers fills what a checkpoint lacks with new random numbers, and says so in a log alone.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from saecircuits.errors import ModelError

_NAMED: Final = 8


class WholeCheckpoint:
    """What stands in the place of a transformers model class where a bridge loads its model.

    Tied weights that a checkpoint holds once are whole.
    """

    def from_pretrained(self, name: str, **settings: Any) -> Any:
        """The model of a folder or hub name, if every weight is in its checkpoint.

        Raises:
            ModelError: tensors that are missing, or of another shape than the configuration says.
        """
        from transformer_lens.model_bridge.sources.transformers import (
            determine_architecture_from_hf_config,
            get_hf_model_class_for_architecture,
        )

        architecture = determine_architecture_from_hf_config(settings["config"])
        with _report_taken_over():
            kind: Any = get_hf_model_class_for_architecture(architecture)
            model, found = kind.from_pretrained(
                name, output_loading_info=True, ignore_mismatched_sizes=True, **settings
            )
        missing, unexpected = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
        shapes = [
            f"{key} is {list(there)} where the configuration says {list(wanted)}"
            for key, there, wanted in sorted(found["mismatched_keys"])
        ]
        unused = f"unused tensors: {_some(unexpected)}" if unexpected else ""
        faults = [f"it lacks {_some(missing)}"] if missing else []
        faults += [_some(shapes)] if shapes else []
        if faults:
            raise ModelError(
                f"the checkpoint of {name!r} is not whole: {'; '.join(faults)}; "
                f"{unused + '; ' if unused else ''}fetch it again, or save the whole model"
            )
        if unused:
            warnings.warn(f"the checkpoint of {name!r} has {unused}", stacklevel=2)
        return model


def _some(names: Iterable[str]) -> str:
    """The first of them, and how many there are beside."""
    listed = list(names)
    more = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def _report_taken_over() -> Iterator[None]:
    """Inside: transformers' table of missing tensors is not printed, since it is read here."""
    logger = logging.getLogger("transformers.modeling_utils")

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(is_no_report)
    try:
        yield
    finally:
        logger.removeFilter(is_no_report)
