"""What `test_schedulers` runs: a scheduler, fields of its config, and what varies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: The betas of Stable Diffusion.
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ALL = ("epsilon", "v_prediction", "sample")
#: Fields of diffusers that have no meaning here.
LEFT_OUT: dict[str, frozenset[str]] = {}


@dataclass(frozen=True)
class Case:
    """Runs of one scheduler.

    Attributes:
        scheduler: its name.
        fields: of the config; the betas are Stable Diffusion's unless they are set here.
        predictions, spacings, steps: all of these are run.
        eta: DDIM's.
        doubled: the model predicts the variance, too.
        request: what `set_timesteps` is called with, instead of the steps.
        also: arguments of `set_timesteps` besides the steps.
        has_betas: whether the scheduler has the fields of `BETAS` and spacings.
    """

    scheduler: str
    fields: dict[str, Any] = field(default_factory=dict)
    predictions: tuple[str, ...] = ALL
    spacings: tuple[str, ...] = ("linspace", "leading", "trailing")
    steps: tuple[int, ...] = (1, 2, 4, 10, 25)
    eta: float = 0.0
    doubled: bool = False
    request: dict[str, Any] = field(default_factory=dict)
    also: dict[str, Any] = field(default_factory=dict)
    has_betas: bool = True

    @property
    def config(self) -> dict[str, Any]:
        """The fields with the betas."""
        return {**BETAS, **self.fields} if self.has_betas else self.fields

    def __str__(self) -> str:
        varied = {**self.fields, **self.request, **self.also, **({"eta": self.eta} if self.eta else {})}
        shown = (name if isinstance(value, list) else f"{name}={value}" for name, value in varied.items())
        return "-".join([self.scheduler, *shown])


SPACED: list[dict[str, Any]] = [
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
]
ZERO_SNR = {"rescale_betas_zero_snr": True}
CHOSEN = {"timesteps": [999, 700, 300, 20]}


def _euler() -> list[Case]:
    fields = [
        {},
        ZERO_SNR,
        *SPACED,
        {"final_sigmas_type": "sigma_min"},
        {"interpolation_type": "log_linear"},
        {"interpolation_type": "log_linear", "use_exponential_sigmas": True},
        {"beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"timestep_type": "continuous"},
    ]
    edm = {"use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 80.0, "timestep_type": "continuous"}
    ancestral = [
        Case("EulerAncestralDiscreteScheduler", one, predictions=("epsilon", "v_prediction")) for one in ({}, ZERO_SNR)
    ]
    return [
        *(Case("EulerDiscreteScheduler", one) for one in fields),
        Case("EulerDiscreteScheduler", edm, predictions=("v_prediction",)),
        Case("EulerDiscreteScheduler", request=CHOSEN),
        Case("EulerDiscreteScheduler", request={"sigmas": [14.0, 5.0, 1.0, 0.1, 0.0]}),
        *ancestral,
    ]


def _ddim() -> list[Case]:
    fields = [
        {},
        {"clip_sample": False},
        {"thresholding": True, "sample_max_value": 1.5},
        {"set_alpha_to_one": False, "clip_sample": False},
        {"trained_betas": [0.001 + 0.00001 * step for step in range(50)], "num_train_timesteps": 50},
    ]
    return [
        *(Case("DDIMScheduler", one, eta=eta) for one in fields for eta in (0.0, 0.5)),
        *(Case("DDIMScheduler", ZERO_SNR, eta=eta) for eta in (0.0, 0.5)),
        Case("DDIMScheduler", eta=1.0),
    ]


def _pndm() -> list[Case]:
    return [
        *(
            Case("PNDMScheduler", one, predictions=("epsilon", "v_prediction"), steps=(2, 4, 10, 25))
            for one in ({"skip_prk_steps": True}, {"skip_prk_steps": True, "set_alpha_to_one": True})
        ),
        Case("PNDMScheduler", {"skip_prk_steps": False}, predictions=("epsilon", "v_prediction"), steps=(4, 10, 25)),
    ]


def _lcm() -> list[Case]:
    fields: list[dict[str, Any]] = [
        {},
        ZERO_SNR,
        {"clip_sample": True},
        {"original_inference_steps": 100, "timestep_scaling": 5.0},
    ]
    return [
        *(Case("LCMScheduler", one, spacings=("leading",)) for one in fields),
        Case("LCMScheduler", also={"original_inference_steps": 40, "strength": 0.5}, steps=(1, 4, 10)),
        Case("LCMScheduler", request=CHOSEN),
    ]


def _dpm_solver() -> list[Case]:
    solvers: list[dict[str, Any]] = [
        {"solver_order": order, "solver_type": kind, "algorithm_type": algorithm}
        for order in (1, 2, 3)
        for kind in ("midpoint", "heun")
        for algorithm in ("dpmsolver++", "sde-dpmsolver++")
    ]
    fields = [
        {},
        ZERO_SNR,
        *SPACED,
        {"use_lu_lambdas": True},
        {"euler_at_final": True, "use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"},
        {"lower_order_final": False},
        {"final_sigmas_type": "sigma_min"},
        {"thresholding": True},
        {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1},
    ]
    flow = ({"use_flow_sigmas": True, "flow_shift": shift} for shift in (1.0, 3.0))
    dynamic = {"use_flow_sigmas": True, "use_dynamic_shifting": True}
    name = "DPMSolverMultistepScheduler"
    return [
        *(Case(name, one, predictions=("epsilon",)) for one in solvers),
        *(Case(name, one) for one in fields),
        *(Case(name, one, predictions=("flow_prediction",)) for one in flow),
        Case(name, dynamic, predictions=("flow_prediction",), also={"mu": 0.8}),
        Case(name, request=CHOSEN),
    ]


def _unipc() -> list[Case]:
    ends = (("bh2", "zero"), ("bh2", "sigma_min"), ("bh1", "sigma_min"))
    solvers: list[dict[str, Any]] = [
        {"solver_order": order, "solver_type": kind, "final_sigmas_type": end, "predict_x0": image}
        for order in (1, 2, 3)
        for kind, end in ends
        for image in (True, False)
        if image or end != "zero"
    ]
    fields = [
        {},
        ZERO_SNR,
        *SPACED,
        {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
        {"thresholding": True},
        {"disable_corrector": [0, 1]},
        {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0},
    ]
    flow: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    flows = ({**flow, "flow_shift": shift} for shift in (1.0, 3.0))
    name, only = "UniPCMultistepScheduler", ("flow_prediction",)
    return [
        *(Case(name, one, predictions=ALL if not one["predict_x0"] else ("epsilon",)) for one in solvers),
        *(Case(name, one) for one in fields),
        *(Case(name, one, predictions=only) for one in [*flows, {**flow, "use_karras_sigmas": True}]),
        Case(name, {**flow, "shift_terminal": 0.1}, predictions=only, steps=(2, 4, 10, 25)),
        *(
            Case(
                name,
                {**flow, "use_dynamic_shifting": True, "time_shift_type": kind},
                predictions=only,
                also={"mu": 0.8},
            )
            for kind in ("exponential", "linear")
        ),
        Case(name, flow, request={"sigmas": [1.0, 0.6, 0.2]}),
    ]


def _heun() -> list[Case]:
    fields = [{}, *SPACED, {"clip_sample": True}, {"beta_schedule": "exp"}]
    return [
        *(Case("HeunDiscreteScheduler", one) for one in fields),
        Case("HeunDiscreteScheduler", {"beta_schedule": "squaredcos_cap_v2"}, steps=(10, 25)),
        Case("HeunDiscreteScheduler", request=CHOSEN),
    ]


def _ddpm() -> list[Case]:
    kinds = ("fixed_small", "fixed_small_log", "fixed_large")
    fields = [
        {},
        ZERO_SNR,
        *({"variance_type": kind, "clip_sample": False} for kind in kinds),
        {"thresholding": True},
        {"beta_schedule": "laplace"},
        {"beta_schedule": "sigmoid"},
    ]
    learned = ({"variance_type": kind, "clip_sample": False} for kind in ("learned", "learned_range"))
    return [
        *(Case("DDPMScheduler", one) for one in fields),
        *(Case("DDPMScheduler", one, doubled=True) for one in learned),
        Case("DDPMScheduler", request=CHOSEN),
    ]


def _flow_match() -> list[Case]:
    fields: list[dict[str, Any]] = [
        {},
        {"shift": 3.0},
        {"shift": 3.0, "stochastic_sampling": True},
        {"invert_sigmas": True},
    ]
    several = [*SPACED, {"shift_terminal": 0.1}]  # with one step there is nothing to replace or to stretch
    dynamic = ({"use_dynamic_shifting": True, "time_shift_type": kind} for kind in ("exponential", "linear"))
    chosen: list[dict[str, Any]] = [
        {"sigmas": [1.0, 0.6, 0.2]},
        {"timesteps": [1000.0, 600.0, 200.0]},
        {"timesteps": [990.0, 600.0, 200.0], "sigmas": [1.0, 0.6, 0.2]},
    ]

    def case(fields: dict[str, Any], **varied: Any) -> Case:
        return Case(
            "FlowMatchEulerDiscreteScheduler", fields, predictions=("",), spacings=("",), has_betas=False, **varied
        )

    return [
        *(case(one) for one in fields),
        *(case(one, steps=(2, 4, 10, 25)) for one in several),
        *(case(one, also={"mu": 0.8}) for one in dynamic),
        *(case({"shift": 3.0}, request=one) for one in chosen),
    ]


CASES = [
    *_euler(),
    *_ddim(),
    *_pndm(),
    *_lcm(),
    *_dpm_solver(),
    *_unipc(),
    *_heun(),
    *(Case("LMSDiscreteScheduler", one) for one in [{}, *SPACED]),
    *_ddpm(),
    *_flow_match(),
]
