"""The model card of a weight folder."""

from typing import Any

from facesr.config.model import ModelConfig, Score, describe_args


def _gain(score: Score) -> str:
    if score.gain_low is None or score.gain_high is None:
        return f"{score.gain:+.2f}"
    return f"{score.gain:+.2f} ({score.gain_low:+.2f} to {score.gain_high:+.2f})"


def model_card(config: ModelConfig) -> str:
    """Return the model card as Markdown with the Hub's front matter."""
    license_ = config.license.lower() or "unknown"
    front = ["---", f"license: {license_}", "library_name: facesr", "pipeline_tag: image-to-image"]
    front += ["tags: [super-resolution, face-restoration]", "---", ""]
    args = describe_args({name: value for name, value in config.args.items() if name != "scale"})
    facts: list[tuple[str, Any]] = [
        ("Architecture", f"{config.arch}, {args}"),
        ("Scale", f"{config.scale}x, RGB"),
        ("Parameters", f"{config.parameters:,}"),
        ("Multiply-adds at 128x128", f"{config.multiply_adds / 1e9:.2f} G"),
        ("Iterations", f"{config.iterations:,}" if config.iterations else ""),
        ("Batch", config.batch or ""),
        ("Training input", f"{config.patch_px} px" if config.patch_px else ""),
        ("Sharpened from", f"{config.base}, sha256 `{config.base_sha256}`" if config.base else ""),
        ("Sharpness", f"{config.sharpness:g} by default" if config.base else ""),
        ("Licence", config.license),
        ("sha256", f"`{config.sha256}`"),
    ]
    lines = [*front, f"# {config.name}", "", config.summary]
    lines += ["", "```", f"facesr upscale faces/ out/ --model {config.name}", "```"]
    lines += ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts if value != "")]
    if config.scores:
        lines += ["", "## Scores", "", "PSNR in dB: RGB, no crop, 8-bit, mean of images.", ""]
        lines += ["| pairs | images | model | bicubic | gain (95 % interval) |", "|---|---|---|---|---|"]
        lines += [
            f"| {s.dataset} | {s.images} | {s.psnr:.2f} | {s.bicubic_psnr:.2f} | {_gain(s)} |"
            for s in config.scores
        ]
    warning = "A restored face is an estimate of what may have been there. It is not evidence of identity."
    sections = {
        "Limits": f"{config.limits.strip()}\n\n{warning}".lstrip(),
        "Training data": config.data.strip(),
        "Degradation": config.degradation.strip(),
        "Training": config.training.strip(),
    }
    lines += [f"\n## {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n".join(lines) + "\n"
