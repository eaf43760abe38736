"""Sentences that a model generates: translations of sentences, captions of scenes.

Axes: N examples, S time steps of the decoder, T tokens of the source.
"""

from __future__ import annotations

from json import dumps

import numpy as np

from lstm_jax.data.dataset import Arrays, Say
from lstm_jax.data.tokens import encode_sentences, lower, normalize, tokenize_sentence
from lstm_jax.errors import UserError
from lstm_jax.predict import decode
from lstm_jax.predict.pictures import read_as_is, read_stdin
from lstm_jax.predict.predict import PredictOptions, answer_lines
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.translation import Translation


def translate(trained: TrainedModel, options: PredictOptions, say: Say) -> None:
    """Prints one line for each sentence: its translation and the mean probability of a token.

    The input - stands for the lines of stdin. Raises UserError, after it has answered the others,
    for a sentence that is empty or longer than the model reads.
    """

    def answer(sentence: str) -> list[str]:
        examples = _source(trained, sentence)
        generated = decode.generate(trained, examples, options.beam)
        certainty, target = float(generated.certainty_N[0]), generated.texts[0]
        if options.json:
            fields = {"source": sentence, "target": target, "certainty": round(certainty, 6)}
            return [dumps(fields, ensure_ascii=False)]
        line = f"{target}  ({certainty:.1%} a {trained.member.task.time_step_name})"
        shown = options.show_each_time_step
        return [line, *(_attention(trained, examples, generated) if shown else [])]

    if options.show_each_time_step and not options.json:
        _refuse_without_attention(trained)
    answer_lines(options, say, "source", answer)


def _source(trained: TrainedModel, sentence: str) -> Arrays:
    """Returns the arrays of one example with an empty target."""
    task, metadata = trained.member.task, trained.metadata
    assert isinstance(task, Translation)
    sentence = normalize(sentence)
    tokens = tokenize_sentence(lower(sentence) if task.lowercase else sentence, task.units)
    longest = metadata["shapes"]["source"][0]
    if not 0 < len(tokens) <= longest:
        raise UserError(
            f"predict: {len(tokens)} {task.time_step_name}s; this model reads 1 to {longest}"
        )
    vocabulary = metadata["source_vocabulary"], metadata["source_others"]
    return {
        "source": encode_sentences([tokens], *vocabulary, longest, end=False),
        "source_lengths": np.array([len(tokens)], np.int32),
        **_empty_targets(trained, 1),
    }


def _empty_targets(trained: TrainedModel, count: int) -> Arrays:
    return {
        "target": np.zeros((count, trained.metadata["shapes"]["target"][0]), np.int32),
        "target_lengths": np.ones(count, np.int32),
    }


def _refuse_without_attention(trained: TrainedModel) -> None:
    if trained.spec.decoder is None or trained.spec.decoder.attention == "none":
        raise UserError("predict: --show-each-time-step shows attention, and this model has none")


def _attention(trained: TrainedModel, examples: Arrays, generated: decode.Generated) -> list[str]:
    """Returns a line for each generated token, with the three source tokens of largest weights."""
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
            if scenes.dtype != np.uint8 or scenes.shape[1:] != (rows, columns) or not len(scenes):
                raise UserError(
                    f"scenes are {scenes.dtype} {list(scenes.shape)}; this model reads uint8 "
                    f"[N, {rows}, {columns}]"
                )
        else:
            image = read_as_is(name, (rows, columns), channels=1).image
            # Scenes are light on dark.
            scenes = (255 - image if np.median(image) > 127 else image)[None]
        examples = {"scenes": scenes, **_empty_targets(trained, len(scenes))}
        generated = decode.generate(trained, examples, options.beam)
        for text, certainty in zip(generated.texts, generated.certainty_N.tolist(), strict=True):
            if options.json:
                say(dumps({"image": name, "caption": text, "certainty": round(certainty, 6)}))
            else:
                say(f"{name}: {text}  ({certainty:.1%} a word)")
