from __future__ import annotations

import pytest
from diffusers import SparseControlNetModel, T2IAdapter

from lisa.errors import LisaError
from lisa.families.base import load_family
from tests import tiny


@pytest.mark.parametrize("name", ["t2i-adapter", "T2I-Adapter", "sparsectrl"])
def test_families_that_cannot_carry_a_score_are_refused_with_the_reason(name):
    with pytest.raises(LisaError, match="never sees the noisy sample"):
        load_family(name)


def test_side_networks_that_never_see_the_sample_are_refused_with_the_reason(tmp_path):
    T2IAdapter(channels=[8, 16, 16, 16], num_res_blocks=1, downscale_factor=8).save_pretrained(tmp_path / "t2i")
    SparseControlNetModel(
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=16,
        down_block_types=("DownBlockMotion", "CrossAttnDownBlockMotion"), motion_num_attention_heads=2,
        conditioning_embedding_out_channels=(4, 8), transformer_layers_per_mid_block=1, num_attention_heads=2,
        temporal_transformer_layers_per_block=1, motion_max_seq_length=8,
    ).save_pretrained(tmp_path / "sparse")  # fmt: skip
    for folder, title in (("t2i", "T2I-Adapter"), ("sparse", "SparseCtrl")):
        with pytest.raises(LisaError, match=f"{title} cannot be aligned"):
            tiny.cached_family("sd15").load_side(tmp_path / folder)
