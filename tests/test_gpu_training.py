"""The benchmark beside other libraries: all train on the same tokens, with loss on the same of them."""

from benchmarks import gpu_training
from course_lib.data.rows import legal_rows
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.training.config import TrainConfig
from course_lib.training.runs import RunFolder
from course_lib.training.sft import sft_trainer


def test_peers_get_what_our_trainer_gets(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_training, "ROWS", 120)
    gpu_training.write_rows(tmp_path / "rows.pt")
    batches = gpu_training.read_rows(tmp_path / "rows.pt")
    config = TrainConfig(model="tiny", method="full", max_length=gpu_training.LENGTH)
    rows = sft_trainer(load_model(WREN), load_tokenizer(WREN), legal_rows(120, 0), config, RunFolder(tmp_path), progress=False)
    for place, name in enumerate(("input_ids", "labels")):
        theirs = batches[:, place].flatten().tolist()
        ours = [number for row in rows.train_dataset for number in row[name]]
        assert theirs == ours[: len(theirs)], name
        assert len(ours) - len(theirs) < batches.shape[-1], "only what fills no whole row is left out"
