"""What several tests share: wren, loaded once."""

import pytest

from course_lib.models.loading import WREN, load_model, load_tokenizer


@pytest.fixture(scope="session")
def wren():
    """The course's model and its tokenizer. A test that changes the model loads its own."""
    return load_model(WREN), load_tokenizer(WREN)
