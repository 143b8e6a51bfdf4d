from nuwa_model.tokenizers.text import TextTokenizer
from pipelines import artifacts
from pipelines.jobs.train_text_tokenizer import train_text_tokenizer
from pipelines.names import text_tokenizer_name
from tests.pipelines.drawn_clips import config_of, fill


def test_the_tokenizer_learns_the_captions_once_and_then_has_nothing_to_do(tmp_path, capsys):
    fill(tmp_path, train=3, validation=2)
    config = config_of(tmp_path)
    record = train_text_tokenizer(config)
    assert record["captions"] == 3, "captions that are held out stay unseen"
    tokenizer = TextTokenizer.from_pretrained(artifacts.load(record["artifact"]).uri)
    tokens, mask = tokenizer.encode(["A shape", "None"])
    assert tokenizer.decode(tokens) == ["a shape", "none"]
    assert mask.sum(dim=1).tolist() == [3, 2]  # " a", " shape", " none", each with its end
    assert train_text_tokenizer(config) == {"was_complete": True, "artifact": record["artifact"]}
    assert "already complete" in capsys.readouterr().out


def test_a_data_set_without_captions_still_has_a_vocabulary(tmp_path):
    record = train_text_tokenizer(config_of(tmp_path))
    tokenizer = TextTokenizer.from_pretrained(record["artifact"])
    assert record["captions"] == 0
    assert tokenizer.decode(tokenizer.encode(["naïve 猫"])[0]) == ["naïve 猫"]


def test_captions_that_come_later_get_a_tokenizer_of_their_own(tmp_path):
    config = config_of(tmp_path)
    before = train_text_tokenizer(config)
    assert before["artifact"].endswith("-no-captions")
    assert train_text_tokenizer(config)["was_complete"]
    fill(tmp_path, train=3)
    after = train_text_tokenizer(config)
    assert (after["was_complete"], after["captions"]) == (False, 3)
    name = text_tokenizer_name(config)
    assert artifacts.find(config.store, "text_tokenizer", name).uri == after["artifact"]
