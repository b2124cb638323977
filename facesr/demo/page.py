"""The page: what a visitor sees, and which function of the service each part calls."""

import html
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from facesr.demo.service import Restored, Service, Wish, sentence
from facesr.errors import FacesrError

_WAITING = 32  # requests in the queue
_EXAMPLES = Path(__file__).parents[2] / "docs" / "example"  # only a checkout has it
_FORMATS = [("Same as the input", "auto"), ("PNG", "png"), ("JPEG", "jpg")]
_BACKGROUNDS = [("Enlarge with the model", "model"), ("Enlarge by bicubic", "bicubic")]

STYLE = """
#faces, #faces div { min-height: 0 !important; }
#faces .grid-container { grid-template-columns: repeat(auto-fill, minmax(76px, 1fr)); padding-top: 24px; }
.gradio-container { max-width: 1100px !important; margin: auto !important; }
@media (max-width: 500px) { .gradio-container { padding: 8px !important; } }
.no-camera #camera { display: none !important; }
:focus-visible { outline: 3px solid #f59e0b !important; outline-offset: 2px; }
"""

# Browsers give a camera to https and to this machine only. Pasted images go the way of those that are chosen.
# The slider moves by mouse and touch alone, so arrow keys, Home and End become a press of the mouse.
HEAD = """
<script>
document.documentElement.classList.toggle("no-camera", !navigator.mediaDevices);
document.addEventListener("paste", (event) => {
  const input = document.querySelector("#images input[type=file]");
  if (!input || !event.clipboardData.files.length) return;
  const chosen = new DataTransfer();
  for (const file of event.clipboardData.files) chosen.items.add(file);
  input.files = chosen.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  event.preventDefault();
});

const HANDLE = "#slider [data-testid=slider]";
new MutationObserver(() => {
  const handle = document.querySelector(HANDLE + ":not([tabindex])");
  if (!handle) return;
  const facts = { tabindex: 0, role: "slider", "aria-label": "Before and after", "aria-valuenow": 50 };
  for (const [name, value] of Object.entries(facts)) handle.setAttribute(name, value);
}).observe(document.documentElement, { childList: true, subtree: true });
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1 }[event.key];
  if (!step || !event.target.matches(HANDLE)) return;
  const handle = event.target, box = handle.parentElement.getBoundingClientRect();
  const now = new DOMMatrix(getComputedStyle(handle).transform).m41 / box.width;
  const next = Math.min(Math.max(now + step, 0), 1);
  const press = { bubbles: true, clientX: box.left + next * box.width, clientY: box.top, view: window };
  handle.dispatchEvent(new MouseEvent("mousedown", press));
  window.dispatchEvent(new MouseEvent("mouseup", press));
  handle.setAttribute("aria-valuenow", Math.round(100 * next));
  event.preventDefault();
});
</script>
"""


def make_theme() -> gr.themes.Base:
    """Return a theme that uses the fonts of the visitor's machine, so that no font is downloaded."""
    return gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def make_page(service: Service) -> gr.Blocks:
    """Return the page. Its queue lets one request at a time use the model."""
    turn: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
    page = gr.Blocks(title="facesr", analytics_enabled=False)
    with page:
        gr.Markdown(
            "# facesr\nRestore the faces in your photographs. Your images stay on the machine that runs this "
            "page and are deleted within ten minutes. "
            "A restored face is an estimate, not evidence of identity."
            f" Model: {html.escape(service.model)}."
        )
        with gr.Row():
            with gr.Column():
                files = gr.File(label="Images", file_count="multiple", elem_id="images", height=180)
                with gr.Accordion("Camera", open=False, elem_id="camera"):
                    camera = gr.Image(sources="webcam", show_label=False, buttons=[])
                if _EXAMPLES.is_dir():
                    examples = [[[str(path)]] for path in sorted(_EXAMPLES.glob("*.png"))]
                    gr.Examples(examples, inputs=[files], label="Examples")
                faces = gr.Gallery(
                    label="Faces",
                    visible=False,
                    height="auto",
                    object_fit="contain",
                    buttons=[],
                    elem_id="faces",
                )
                chosen = gr.CheckboxGroup(label="Faces to restore", visible=False, interactive=True)
                outscale = gr.Radio(
                    sorted({1, 2, service.outscale}),
                    value=service.outscale,
                    label="Enlargement",
                    elem_id="outscale",
                )
                background = gr.Radio(_BACKGROUNDS, value="model", label="Rest of the photograph")
                format_ = gr.Radio(_FORMATS, value="auto", label="File format")
                sharpness = gr.Slider(
                    0,
                    1,
                    value=service.sharpness or 0,
                    step=0.05,
                    label="Sharpness",
                    info="Higher values look sharper and invent more detail.",
                    visible=service.sharpness is not None,
                )
                button = gr.Button("Restore", variant="primary", interactive=False, elem_id="restore")
            with gr.Column():
                slider = gr.ImageSlider(
                    label="Before and after",
                    elem_id="slider",
                    buttons=["fullscreen"],
                    interactive=False,
                    type="filepath",
                )
                download = gr.DownloadButton("Download", visible=False, elem_id="download")
                notes = gr.Markdown(elem_id="notes")

        def look(paths: list[str] | None) -> tuple[Any, ...]:
            waiting = gr.update(visible=False), gr.update(visible=False, choices=[], value=[])
            if not paths or len(paths) > 1:
                return *waiting, gr.update(interactive=bool(paths))
            with _errors():
                found = service.find(Path(paths[0]))
            if not found:
                return *waiting, gr.update(interactive=True)
            numbers = [str(number) for number in range(1, len(found) + 1)]
            return (
                gr.update(visible=True, value=list(zip(found, numbers, strict=True))),
                gr.update(visible=True, choices=numbers, value=numbers),
                gr.update(interactive=True),
            )

        def restore(
            paths: list[str] | None,
            numbers: list[str],
            times: float,
            rest: Any,
            form: Any,
            sharp: float,
            progress: gr.Progress = gr.Progress(),  # noqa: B008 (that is how Gradio is asked for it)
        ) -> tuple[Any, ...]:
            # Once the button can be used, the faces are known: without any, there is nothing to choose.
            made = ask(paths, times, rest, form, sharp, {int(number) for number in numbers}, progress)
            views = None if made.before is None else (str(made.before), str(made.after))
            said = "\n\n".join(map(html.escape, made.notes))
            label = f"Download {made.file.name}"
            return views, gr.update(value=str(made.file), label=label, visible=True), said

        def restore_all(
            images: list[str] | None,
            outscale: float,
            background: Any,
            format: Any,  # noqa: A002
            sharpness: float,
        ) -> str:
            """Restore one image, or several into a ZIP, with all their faces. The API uses these names."""
            return str(ask(images, outscale, background, format, sharpness, None).file)

        def ask(
            paths: list[str] | None,
            times: float,
            rest: Any,
            form: Any,
            sharp: float,
            numbers: set[int] | None,
            progress: gr.Progress | None = None,
        ) -> Restored:
            def tell(done: int, total: int) -> None:
                if progress:
                    progress((done, total), unit="images")

            if progress:
                progress(None, desc="Restoring")
            sharpness = None if service.sharpness is None else sharp
            wish = Wish(outscale=times, background=rest, format=form, sharpness=sharpness)
            with _errors():
                return service.restore(list(map(Path, paths or [])), wish, chosen=numbers, progress=tell)

        options = [outscale, background, format_, sharpness]
        restoring = button.click(
            restore,
            [files, chosen, *options],
            [slider, download, notes],
            api_name="click",
            api_visibility="private",
            **turn,
        )
        # The browser hands the photograph over, so that the server never decodes it another way than files.
        camera.change(
            None, camera, files, js="(photo) => [photo && [photo]]", api_visibility="private", queue=False
        )
        files.change(
            lambda: (gr.update(interactive=False), None, gr.update(visible=False), ""),
            outputs=[button, slider, download, notes],
            queue=False,
            cancels=restoring,
            api_visibility="private",
        ).then(look, files, [faces, chosen, button], api_visibility="private", **turn)
        gr.Button(visible=False).click(
            restore_all, [files, *options], gr.File(visible=False), api_name="restore", **turn
        )
    page.queue(max_size=_WAITING)
    return page


@contextmanager
def _errors() -> Iterator[None]:
    """Show errors on the page as one sentence. Gradio shows it as HTML, so file names are escaped."""
    try:
        yield
    except FacesrError as error:
        raise gr.Error(html.escape(sentence(error)), print_exception=False) from error
