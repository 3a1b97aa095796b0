"""A picture with a slider that needs neither kernel nor network: every frame is drawn beforehand and travels in the output."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from course_lib.notebook.html import Shown
from course_lib.notebook.plots import IMAGE, webp

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The slider is put in by the script: where scripts are stripped, a dead one would mislead. (JupyterLab's sanitiser, which guards
# notebooks not yet trusted, strips `hidden` and leaves inputs.) Nothing has an id, so that nothing collides: the script sets up
# every flipbook on the page that isn't yet.
SCRIPT = Markup("""<script>
for (const book of document.querySelectorAll('.course-flipbook:not([data-ready])')) {
  book.dataset.ready = '';
  const frames = JSON.parse(book.dataset.frames), image = book.querySelector('img');
  image.insertAdjacentHTML('beforebegin', book.dataset.slider);
  const slider = book.querySelector('input'), value = book.querySelector('b');
  frames[slider.value][2] = image.src;
  slider.addEventListener('keydown', event => event.stopPropagation());  // JupyterLab would take the arrow keys
  slider.addEventListener('input', () => {
    const [label, alt, source] = frames[slider.value];
    image.src = source;
    image.alt = alt;
    value.textContent = label;
    slider.setAttribute('aria-valuetext', label);
  });
}
</script>""")


def flipbook(
    frames: Iterable[Figure],
    labels: Sequence[object],
    *,
    title: str,
    label: str,
    alt_texts: Sequence[str] | None = None,
    start: int = 0,
) -> Shown:
    """Figures behind a slider.

    Args:
        frames: figures of one size, such as a generator that draws them.
        labels: what the slider says at each frame, such as the rank.
        title: what the pictures show.
        label: what the slider changes, such as ``"rank"``.
        alt_texts: a description of each frame; without it, the figures' own (see `plots.show`).
        start: the frame to begin with, and the only one where scripts are stripped.
    """
    drawn = []
    for index, figure in enumerate(frames):
        alt = alt_texts[index] if alt_texts else str(figure.get_label())
        if not alt:
            raise ValueError(f"frame {index} needs a text for those who can't see it: pass alt_texts")
        source = "data:image/webp;base64," + base64.b64encode(webp(figure)).decode()
        drawn.append((str(labels[index]), alt, source, tuple(figure.get_size_inches())))
    if len(drawn) != len(labels) or len({size for *_, size in drawn}) != 1:
        raise ValueError("a flipbook needs one label a frame, and frames of one size")
    first_label, first_alt, first_source, (width, height) = drawn[start]
    slider = Markup(
        '<label style="display:flex;align-items:center;gap:.8em;margin:.4em 0"><span>{label}</span>'
        '<input type="range" min="0" max="{last}" value="{start}" step="1" aria-valuetext="{value}" autocomplete="off" '
        'style="flex:1;accent-color:#0072B2;margin:0;height:1.6em">'
        '<b aria-hidden="true" style="min-width:3em;font-variant-numeric:tabular-nums">{value}</b></label>'
    ).format(label=label, last=len(drawn) - 1, start=start, value=first_label)
    html = Markup(
        '<div class="course-flipbook" data-frames="{frames}" data-slider="{slider}" style="max-width:{width}px">'
        '<div style="font-weight:600;margin:.4em 0">{title}</div>{image}</div>{script}'
    ).format(
        frames=json.dumps([(text, alt, source if i != start else "") for i, (text, alt, source, _) in enumerate(drawn)]),
        slider=str(slider),  # as text: escaped once more, for the attribute that holds it
        title=title,
        width=round(96 * width),
        image=IMAGE.format(source=first_source, alt=first_alt, width=round(96 * width), height=round(96 * height)),
        script=SCRIPT,
    )
    names = ", ".join(frame[0] for frame in drawn)
    return Shown(html, f"{title} (a picture with a slider; {label}: {names})\nAt {label} {first_label}: {first_alt}")
