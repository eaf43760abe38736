"""Sentences that a model generates: translations of sentences, captions of scenes.

Axes: N examples, S time steps of the decoder, T tokens of the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps

import numpy as np

from lstm_jax.data.dataset import Arrays, Say
from lstm_jax.data.tokens import encode_sentences, lower, normalize, tokenize_sentence
from lstm_jax.errors import UserError
from lstm_jax.predict import decode
from lstm_jax.predict.answers import Sentences
from lstm_jax.predict.pictures import read_as_is, read_stdin
from lstm_jax.predict.predict import PredictOptions, answer_lines, as_texts
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.translation import Translation


def translate(trained: TrainedModel, options: PredictOptions, say: Say) -> None:
    """Prints one line for each sentence: its translation and the mean probability of a token.

    The input - stands for the lines of stdin. Raises UserError, after it has answered the others,
    for a sentence that is empty or longer than the model reads.
    """

    def answer(sentence: str) -> list[str]:
        generated = translations(trained, sentence, options.beam)
        certainty, target = float(generated.certainty_N[0]), generated.texts[0]
        if options.json:
            fields = {"source": sentence, "target": target, "certainty": round(certainty, 6)}
            return [dumps(fields, ensure_ascii=False)]
        line = f"{target}  ({certainty:.1%} a {trained.member.task.time_step_name})"
        shown = options.show_each_time_step
        return [line, *(_attention(trained, sentence, generated) if shown else [])]

    if options.show_each_time_step and not options.json:
        _refuse_without_attention(trained)
    answer_lines(options, say, "source", answer)


def translations(trained: TrainedModel, sentences: str | Sequence[str], beam: int = 1) -> Sentences:
    """Returns the translations of sentences: the most probable token at each time step, or the best
    of a beam search. Raises UserError for a sentence that is empty or longer than the model reads.
    """
    return decode.generate(trained, _source(trained, as_texts(sentences)), beam)


def _source(trained: TrainedModel, sentences: Sequence[str]) -> Arrays:
    """Returns the arrays of examples with empty targets."""
    task, metadata, each = trained.member.task, trained.metadata, list[list[str]]()
    assert isinstance(task, Translation)
    longest = metadata["shapes"]["source"][0]
    for sentence in sentences:
        sentence = normalize(sentence)
        tokens = tokenize_sentence(lower(sentence) if task.lowercase else sentence, task.units)
        if not 0 < len(tokens) <= longest:
            raise UserError(
                f"predict: {len(tokens)} {task.time_step_name}s; this model reads 1 to {longest}"
            )
        each.append(tokens)
    vocabulary = metadata["source_vocabulary"], metadata["source_others"]
    return {
        "source": encode_sentences(each, *vocabulary, longest, end=False),
        "source_lengths": np.array([len(tokens) for tokens in each], np.int32),
        **_empty_targets(trained, len(each)),
    }


def _empty_targets(trained: TrainedModel, count: int) -> Arrays:
    return {
        "target": np.zeros((count, trained.metadata["shapes"]["target"][0]), np.int32),
        "target_lengths": np.ones(count, np.int32),
    }


def _refuse_without_attention(trained: TrainedModel) -> None:
    if trained.spec.decoder is None or trained.spec.decoder.attention == "none":
        raise UserError("predict: --show-each-time-step shows attention, and this model has none")


def _attention(trained: TrainedModel, sentence: str, generated: Sentences) -> list[str]:
    """Returns a line for each generated token, with the three source tokens of largest weights."""
    examples = _source(trained, [sentence])
    source = decode.words(examples["source"][0], trained.metadata, "source")
    target = decode.words(generated.tokens_NS[0], trained.metadata, "target")
    weights_ST = decode.attention_weights(trained, examples, generated.tokens_NS)[0]
    lines = []
    for token, weight_T in zip(target, weights_ST, strict=False):
        largest = np.argsort(-weight_T[: len(source)])[:3]
        shown = ", ".join(f"{source[t].strip()} {weight_T[t]:.0%}" for t in largest)
        lines.append(f"  {token.strip():20} {shown}")
    return lines


def caption(trained: TrainedModel, options: PredictOptions, say: Say) -> None:
    """Prints one line for each scene: its name, its caption and the mean probability of a word.

    An input is a picture, scaled to the size of a scene, or - for an array on stdin. Raises
    UserError for an input that is neither a picture nor an array of scenes.
    """
    rows, columns = trained.metadata["shapes"]["scenes"]
    for name in options.inputs:
        if name == "-":
            scenes = read_stdin()
        else:
            image = read_as_is(name, (rows, columns), channels=1).image
            # Scenes are light on dark.
            scenes = (255 - image if np.median(image) > 127 else image)[None]
        generated = captions(trained, scenes, options.beam)
        for text, certainty in zip(generated.texts, generated.certainty_N.tolist(), strict=True):
            if options.json:
                say(dumps({"image": name, "caption": text, "certainty": round(certainty, 6)}))
            else:
                say(f"{name}: {text}  ({certainty:.1%} a word)")


def captions(trained: TrainedModel, scenes_NTI: np.ndarray, beam: int = 1) -> Sentences:
    """Returns the captions of scenes, uint8 [N, rows, columns], or of one, [rows, columns].

    `beam` is as in `translations`. Raises UserError for other arrays.
    """
    rows, columns = trained.metadata["shapes"]["scenes"]
    scenes = np.asarray(scenes_NTI)
    scenes = scenes[None] if scenes.ndim == 2 else scenes
    if scenes.dtype != np.uint8 or scenes.shape[1:] != (rows, columns) or not len(scenes):
        raise UserError(
            f"scenes are {scenes.dtype} {list(scenes.shape)}; this model reads uint8 "
            f"[N, {rows}, {columns}]"
        )
    examples = {"scenes": scenes, **_empty_targets(trained, len(scenes))}
    return decode.generate(trained, examples, beam)
