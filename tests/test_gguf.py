"""What a GGUF says of itself, and how a file that is none, or would end the process, is refused."""

from __future__ import annotations

import math
import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_magic.errors import PhiError
from phi_magic.gguf.checks import read_header
from tests.gguf_files import ARRAY, EMBED, F16, F32, FLOAT32, HEADS, LAYERS, STRING, gguf, metadata, tensors, text

DEMO = Path(__file__).parent.parent / "phi_magic" / "demo" / "phi-demo.gguf"


@pytest.fixture
def write(tmp_path):
    def write(content, name="model.gguf"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def refusal(path):
    with pytest.raises(PhiError) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


def test_a_header_says_what_the_model_is(write):
    content = gguf()
    header = read_header(write(content))
    assert (header.architecture, header.name, header.licence) == ("phi3", "Little Phi", "mit")
    assert (header.n_layer, header.n_embd, header.n_head, header.n_head_kv) == (LAYERS, EMBED, HEADS, HEADS)
    assert (header.key_length, header.value_length, header.context_length) == (EMBED // HEADS, EMBED // HEADS, 512)
    assert header.n_vocab == len(metadata()["tokenizer.ggml.tokens"])
    assert header.chat_template == metadata()["tokenizer.chat_template"]
    assert (header.file_type, header.size) == ("Q8_0", len(content))
    assert header.n_params == sum(math.prod(shape) for _, shape, _ in tensors())
    first, *_, last = header.tensors
    assert (first.name, first.shape, first.type) == ("token_embd.weight", (EMBED, header.n_vocab), "Q8_0")
    assert last.offset + last.nbytes <= header.size
    assert header.weight_bytes == sum(tensor.nbytes for tensor in header.tensors)


def test_the_shipped_model_is_sound():
    header = read_header(DEMO)
    assert header.architecture == "phi3"
    assert header.chat_template


def test_arrays_are_read_when_asked_for(write):
    header = read_header(write(gguf()))
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert len(tokens) == header.n_vocab
    assert "values" not in vars(tokens)
    assert tokens[:3] == ["<unk>", "<s>", "<|end|>"]
    assert header.metadata["tokenizer.ggml.token_type"][3] == 6


def test_what_a_file_does_not_say_follows_from_the_rest(write):
    said = metadata()
    for key in ("general.name", "general.license", "general.file_type", "tokenizer.chat_template"):
        del said[key]
    del said["phi3.attention.head_count_kv"]
    header = read_header(write(gguf(said)))
    assert header.name is header.licence is header.chat_template is None
    assert header.n_head_kv == HEADS
    assert header.file_type == "Q8_0"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it is empty"),
        (bytes(100_000), "begins with zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-LFS pointer"),
        (b"\n<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"<?xml version='1.0'?><Error/>", "a web page"),
        (struct.pack("<Q", 80) + b'{"__metadata__":{}}', "safetensors"),
        (b"PK\3\4archive/data.pkl", "zip or PyTorch"),
        (b"lmgg\0\0\0\0", "GGML, the format before GGUF"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (b'{"model_type": "phi3"}', "JSON"),
        (b"MZ\x90\0\3\0\0\0", "begins with b'MZ"),
        (b"GGUF", "stops after its first bytes"),
        (b"GGUF\3\0\0\0", "8 bytes and the header is not complete"),
        (b"GGUF\1\0\0\0" + bytes(16), "GGUF version 1; convert the model again"),
        (b"GGUF\4\0\0\0" + bytes(16), "GGUF version 4; "),
        (b"GGUF\0\0\0\3" + bytes(16), "big-endian"),
    ],
)
def test_what_is_no_gguf_is_called_by_its_name(write, content, complaint):
    assert complaint in refusal(write(content))


def test_what_is_no_file_is_called_by_its_name(tmp_path, write):
    assert "no such file" in refusal(tmp_path / "nothing.gguf")
    assert "no such file" in refusal("a\0b.gguf")
    assert "is a folder, not a GGUF" in refusal(tmp_path)
    write(gguf())
    assert f"is a folder; name the file in it, such as {tmp_path / 'model.gguf'}" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "line\nbreak.gguf")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "no ordinary file" in refusal(tmp_path / "pipe.gguf")


def test_a_file_cut_anywhere_is_refused(write):
    content = gguf()
    end = read_header(write(content)).tensors[-1]
    for length in [*range(0, 9_000, 97), *range(9_000, end.offset + end.nbytes, 5_000)]:
        assert any(word in refusal(write(content[:length])) for word in ("incomplete", "not a GGUF", "empty"))


def test_a_cut_download_tells_how_much_of_it_is_there(write):
    assert "60 kB of 118 kB: the download is incomplete; pull it again" in refusal(write(gguf()[:60_000]))


def changed(key, item):
    return gguf({**metadata(), key: item})


def without(key):
    said = metadata()
    del said[key]
    return gguf(said)


def table(change):
    changed = tensors()
    change(changed)
    return gguf(table=changed)


def retyped(index, kind):
    def change(table):
        name, shape, _ = table[index]
        table[index] = name, shape, kind

    return change


TOKENS = metadata()["tokenizer.ggml.tokens"]
HOSTILE = {
    # structure
    "a key twice": (gguf(keys=[("general.name", "again")]), "the key 'general.name' twice"),
    "a key without a name": (gguf(keys=[("", 1)]), "the key ''"),
    "a key that ends before its end": (gguf(keys=[("phi3.block_count\0", 9)]), r"the key 'phi3.block_count\x00'"),
    "an unknown value type": (gguf(keys=[("x", struct.pack("<II", 13, 0))]), "'x' has value type 13"),
    "an array of arrays": (gguf(keys=[("x", struct.pack("<IIQ", ARRAY, ARRAY, 0))]), "array of value type 9"),
    "an endless array": (gguf(keys=[("x", struct.pack("<IIQ", ARRAY, FLOAT32, 1 << 40))]), "array of 1,099,511"),
    "an endless text": (gguf(keys=[("x", struct.pack("<IQ", STRING, 1 << 60))]), "bytes of text"),
    "an endless text in an array": (
        gguf(keys=[("x", struct.pack("<IIQQ", ARRAY, STRING, 1, (1 << 64) - 9))]),
        "bytes of text",
    ),
    "countless keys": (b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 63), "9,223,372,036,854,775,808 keys"),
    "countless tensors": (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 1), "1,099,511,627,776 tensors"),
    "an odd alignment": (changed("general.alignment", 48), "general.alignment is 48"),
    "an alignment that llama.cpp cannot map": (changed("general.alignment", 8), "general.alignment is 8"),
    "a tensor twice": (table(lambda t: t.append(t[0])), "the tensor 'token_embd.weight' twice"),
    "a long name": (table(lambda t: t.append(("x" * 64, (32,), F32))), "the tensor 'xxx"),
    "no dimensions": (table(lambda t: t.append(("x", (), F32))), "'x' has 0 dimensions"),
    "five dimensions": (table(lambda t: t.append(("x", (1, 1, 1, 1, 1), F32))), "has 5 dimensions"),
    "an empty dimension": (table(lambda t: t.append(("x", (32, 0), F32))), "has the shape (32, 0)"),
    "an overflowing shape": (
        gguf(table=[*tensors(), ("x", (1 << 32, 1 << 32), F32)], weights=False),
        "lies at",
    ),
    "a torn block": (table(lambda t: t.append(("x", (33, 2), 8))), "has the shape (33, 2)"),
    "an unknown tensor type": (table(retyped(0, 31)), "has type 31, which no weight has"),
    "a tensor over another": (gguf(offsets=[(3, 0)]), "lies at 0, not at"),
    "a tensor beyond the file": (gguf(offsets=[(0, 1 << 50)]), "lies at 1,125,899,906,842,624, not at 0"),
    # what llama.cpp meets with an assertion or an exception that it does not catch
    "no architecture": (without("general.architecture"), "general.architecture is ''"),
    "an architecture of a megabyte": (changed("general.architecture", "A" * 1_000_000), "general.architecture is"),
    "a picture's encoder": (changed("general.architecture", "clip"), "writes no text"),
    "a vocabulary alone": (gguf(table=[]), "a vocabulary and no weights"),
    "one of several parts": (changed("split.count", 3), "one of 3 parts; join them"),
    "no layers": (changed("phi3.block_count", 0), "phi3.block_count is 0 and the tensors are of 2 layers"),
    "too many layers": (changed("phi3.block_count", 4_000_000_000), "phi3.block_count is 4,000,000,000"),
    "a count that is a text": (changed("phi3.block_count", "two"), "phi3.block_count is 'two', not a count"),
    "no heads": (changed("phi3.attention.head_count", 0), "0 heads"),
    "heads that do not divide": (changed("phi3.attention.head_count", 3), "3 heads"),
    "more heads for keys": (changed("phi3.attention.head_count_kv", 4), "2 heads (4 for keys)"),
    "keys wider than values": (changed("phi3.attention.key_length", 16), "of 16 and 32"),
    "an odd rotation": (changed("phi3.rope.dimension_count", 7), "rotated: 7"),
    "a rotation wider than a head": (changed("phi3.rope.dimension_count", 64), "rotated: 64"),
    "a negative epsilon": (changed("phi3.attention.layer_norm_rms_epsilon", -1.0), "epsilon' is -1.0"),
    "an epsilon that is no number": (changed("phi3.attention.layer_norm_rms_epsilon", math.nan), "epsilon' is nan"),
    "an endless rotation": (changed("phi3.rope.freq_base", math.inf), "freq_base' is inf"),
    "an unknown scaling": (changed("phi3.rope.scaling.type", "odd"), "rope.scaling.type is unknown"),
    "a look to the right": (changed("phi3.attention.causal", False), "not a causal language model"),
    "experts used and none there": (changed("phi3.expert_used_count", 2), "2 of 0 experts"),
    "more layers ahead than layers": (changed("phi3.nextn_predict_layers", 9), "predict ahead"),
    "no attention": (table(lambda t: t.pop(2)), "layer 0 has no blk.0.attn_qkv.weight"),
    "a half-precision norm": (table(retyped(1, F16)), "'blk.0.attn_norm.weight' has type F16, not F32"),
    "no vocabulary": (without("tokenizer.ggml.tokens"), "no vocabulary"),
    "an empty vocabulary": (changed("tokenizer.ggml.tokens", struct.pack("<IIQ", ARRAY, STRING, 0)), "no vocabulary"),
    "tokens that are numbers": (changed("tokenizer.ggml.tokens", [1, 2, 3]), "no vocabulary"),
    "a tokenizer of another kind": (
        changed("tokenizer.ggml.model", "bert"),
        "tokenizer of kind 'bert', not one of llama",
    ),
    "a token twice": (changed("tokenizer.ggml.tokens", [*TOKENS[:-1], "<s>"]), "1 of its 260 tokens are there twice"),
    "tokens alike up to a NUL": (changed("tokenizer.ggml.tokens", [*TOKENS[:-1], "<s>\0ice"]), "there twice"),
    "a byte without a token": (changed("tokenizer.ggml.tokens", [*TOKENS[:9], "x", *TOKENS[10:]]), "the byte 0x06"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_unsound_file_is_refused(write, kind):
    content, complaint = HOSTILE[kind]
    assert complaint in refusal(write(content))


def test_a_beginning_that_is_added_must_exist(write):
    said = metadata()
    said["tokenizer.ggml.model"] = "gpt2"
    said["tokenizer.ggml.tokens"] = said["tokenizer.ggml.tokens"][:10]
    said["tokenizer.ggml.bos_token_id"] = 99
    assert "it adds a token of bos, and has none" in refusal(write(gguf(said)))
    read_header(write(gguf({**said, "tokenizer.ggml.add_bos_token": False})))


def test_text_from_the_file_stays_on_one_line(write):
    assert r"'ev\nil\x1b[31m'" in refusal(write(gguf(keys=[("ev\nil\x1b[31m", 1), ("ev\nil\x1b[31m", 1)])))


@pytest.mark.parametrize("kind", ["an endless array", "an endless text", "countless keys", "countless tensors"])
def test_an_absurd_count_takes_no_memory(write, kind):
    path = write(HOSTILE[kind][0])
    tracemalloc.start()
    refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_header_longer_than_any_is_refused(tmp_path):
    path = tmp_path / "long.gguf"
    with path.open("wb") as file:  # with holes: 150 MB that take no room on the disk
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 1, 60_000) + text("k0") + struct.pack("<IQ", STRING, 120_000_000))
        file.seek(120_000_000, os.SEEK_CUR)
        file.write(text("k1") + struct.pack("<IQ", STRING, 120_000_000))
        file.truncate(500_000_000)
    assert "a header of more than 134 MB" in refusal(path)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 255)), min_size=1, max_size=16))
def test_a_changed_byte_gives_a_header_or_one_line(tmp_path_factory, changes):
    content = bytearray(gguf())
    for at, byte in changes:
        content[at] = byte
    path = tmp_path_factory.getbasetemp() / "changed.gguf"
    path.write_bytes(content)
    complaint = ""
    try:
        assert read_header(path).n_layer == LAYERS
    except PhiError as error:
        complaint = str(error)
    assert not complaint or complaint.isprintable()


def test_the_border_between_two_sets_of_rope_factors_is_the_original_context_of_a_model_that_has_them(tmp_path):
    path = tmp_path / "model.gguf"
    factors = [("rope_factors_long.weight", (16,), F32), ("rope_factors_short.weight", (16,), F32)]
    said = [("phi3.rope.scaling.original_context_length", 256)]
    found = []
    for table, keys in [(tensors(), said), ([*tensors(), *factors], said), ([*tensors(), *factors], [])]:
        path.write_bytes(gguf(table=table, keys=keys))
        found.append(read_header(path).rope_border)
    assert found == [None, 256, 512]  # llama.cpp takes the whole context where no other length is said
