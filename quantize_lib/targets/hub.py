"""The Hugging Face Hub, or what HF_ENDPOINT names in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quantize_lib.options import Option
from quantize_lib.targets.entry import Target

TAG = Option(
    name="tag",
    default=False,
    words={
        "title": "Tag per base release",
        "description": "Tag the first publication from each commit of the base model, as "
        "`base-0123456789ab`. Only for `to: hub`.",
        "type": "boolean",
    },
)
COLLECTION: Option[str | None] = Option(
    name="collection",
    default=None,
    words={
        "title": "Collection",
        "description": "Title of a collection in the namespace that every repository is put into; `{model}` "
        "is the base model's name. Only for `to: hub`.",
        "type": "string",
        "minLength": 1,
        "maxLength": 100,
        "pattern": "^[^\u0000-\u001f\u007f-\u009f\u2028\u2029{}]*"
        "(\\{model\\}[^\u0000-\u001f\u007f-\u009f\u2028\u2029{}]*)*$",
        "errorMessage": "not a title; use one line of text, and no braces but those of {model}",
        "examples": ["{model}, quantized"],
    },
)
PULL_REQUEST = Option(
    name="pull_request",
    default=False,
    words={
        "title": "Pull request",
        "description": "Open a pull request for each checkpoint instead of committing it. Only for "
        "`to: hub`; not together with `tag` and `collection`.",
        "type": "boolean",
    },
)


DISCUSSION = Option(
    name="discussion",
    default=False,
    words={
        "title": "Discussion",
        "description": "Open a discussion that says what a new revision changed, with the figures before and "
        "after; with `pull_request` a comment on that. Only for `to: hub`; nothing is said of a first "
        "publication.",
        "type": "boolean",
    },
)


def _check(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for option in (TAG, COLLECTION):
        if values.get(PULL_REQUEST.name) and values.get(option.name):
            yield option.name, "not together with `pull_request`: it follows a commit on `main`."


TARGET = Target(
    name="hub",
    order=2,
    place="the Hub",
    summary="which needs a token",
    label="the Hugging Face Hub",
    publisher="quantize_lib.publish.hub.publisher:HubPublisher",
    options=(TAG, COLLECTION, PULL_REQUEST, DISCUSSION),
    check=_check,
    credentials="quantize_lib.hub.credentials:need_write_access",
    is_open=True,
    keeps_history=True,
    proposes=PULL_REQUEST,
    checks_cards=True,
)
