"""Where each stage finds and leaves its files, relative to the project's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """A project's folders; `root` is the folder of params.yaml."""

    root: Path = Path()

    def data(self, scenario: str) -> Path:
        """Manifest and shards of a scenario, as `itkm data import` leaves them."""
        return self.root / "data" / scenario

    def training_table(self, scenario: str) -> Path:
        """The table without identities, the only one that training reads."""
        return self.root / "artifacts" / "prepared" / scenario / "train.parquet"

    def evaluation_table(self, scenario: str) -> Path:
        """The table with the hidden labels, for the evaluation alone."""
        return self.root / "artifacts" / "hidden" / f"{scenario}.parquet"

    def validation(self, scenario: str) -> Path:
        """Findings of the stage `validate`."""
        return self.root / "reports" / "validation" / f"{scenario}.json"

    @property
    def homogeneous(self) -> Path:
        """Stage I: a model folder and `history.csv`."""
        return self.root / "artifacts" / "homogeneous"

    def features(self, scenario: str) -> Path:
        """Training images' features by Stage I (`features`) and by the frozen CLIP (`frozen`)."""
        return self.root / "artifacts" / "features" / f"{scenario}.npz"

    def clusters(self, scenario: str) -> Path:
        """Stage I's final pseudo-labels (`labels`, int64 [N], numbered within each group)."""
        return self.root / "artifacts" / "clusters" / f"{scenario}.npz"

    @property
    def prompts(self) -> Path:
        """Stage II: `texts.safetensors`, a tensor [C, E] for each `<scenario>/<group>`, and `history.csv`."""
        return self.root / "artifacts" / "prompts"

    @property
    def heterogeneous(self) -> Path:
        """Stage III: `history.csv` and for each scenario `<scenario>.npz` with final labels and matches."""
        return self.root / "artifacts" / "heterogeneous"

    @property
    def model(self) -> Path:
        """The finished model: `model.safetensors`, `config.json`, `texts.safetensors`."""
        return self.root / "artifacts" / "model"

    def scored(self, scenario: str) -> Path:
        """Evaluated features of the three models, for the report's ranked lists."""
        return self.root / "artifacts" / "evaluation" / f"{scenario}.npz"

    @property
    def metrics(self) -> Path:
        """The result, a DVC metric."""
        return self.root / "reports" / "metrics.json"

    @property
    def report(self) -> Path:
        """The offline page."""
        return self.root / "reports" / "report.html"
