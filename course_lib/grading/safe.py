"""Make what a student wrote and printed safe to show in formgrader and in feedback: no markup of theirs is ever markup."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

TAG = re.compile(r"<(?=[A-Za-z/!?])")
LINK = re.compile(r"\](?=[(:])")
TEX_LINK = re.compile(r"\\(href|url|require|class|cssId|style|html\w*|data|includegraphics)\b", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\x1b\[[0-9;?]*[A-Za-z]")
SIGNS = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
MOST_TEXT = 120_000


def safe_markdown(text: str) -> str:
    """A student's Markdown, in which tags, links and pictures are text, and formulas link nowhere.

    A blank is enough for each: ``< script>`` is no tag, and ``[here] (address)`` no link, in Markdown and in HTML.
    """
    text = LINK.sub("] ", TAG.sub("< ", CONTROL.sub("", text)))
    return TEX_LINK.sub(lambda found: "\\text{" + found[1] + "}", text)


def plain_text(text: Any) -> str:
    """Text without control characters and terminal colours."""
    return CONTROL.sub("", text)[:MOST_TEXT] if isinstance(text, str) else ""


def picture(data: Any, mime: str) -> str | None:
    """Base64 of a real PNG or JPEG, or None."""
    try:
        content = base64.b64decode(data, validate=False) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(content).decode() if content.startswith(SIGNS[mime]) else None


def safe_outputs(outputs: list[Any]) -> list[dict[str, Any]]:
    """Outputs of a student's cell, built anew: text, PNG and JPEG, in nbformat's words."""
    found: list[dict[str, Any]] = []
    for output in outputs[:200]:
        if not isinstance(output, dict):
            continue
        kind = output.get("output_type")
        if kind == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            found.append({"output_type": "stream", "name": name, "text": plain_text(output.get("text"))})
        elif kind == "error":
            lines = output.get("traceback")
            trace = [plain_text(line) for line in lines[:60]] if isinstance(lines, list) else []
            error = {"ename": plain_text(output.get("ename"))[:200], "evalue": plain_text(output.get("evalue"))[:2000]}
            found.append({"output_type": "error", "traceback": trace} | error)
        elif kind in ("display_data", "execute_result") and isinstance(output.get("data"), dict):
            data: dict[str, str] = {}
            for mime in SIGNS:
                shown = picture(output["data"].get(mime), mime)
                if shown:
                    data[mime] = shown
            if isinstance(output["data"].get("text/plain"), str):
                data["text/plain"] = plain_text(output["data"]["text/plain"])
            if data:
                count: dict[str, Any] = {"execution_count": None} if kind == "execute_result" else {}
                found.append({"output_type": kind, "data": data, "metadata": {}} | count)
    return found
