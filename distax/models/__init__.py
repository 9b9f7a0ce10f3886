"""Models that detect targets in images, registered by name."""

from distax.models.adversarial.models import Bsrgan, Esrgan, Srgan
from distax.models.base import GridModel, Model
from distax.models.classical.bid import Bid
from distax.models.classical.lasso import Fista, Ista
from distax.models.classical.nnls import Nnls
from distax.models.density import Density
from distax.models.focus import Focus
from distax.models.offsets import GuidedOffsets
from distax.models.registry import create, import_module_file, names, register, register_head
from distax.models.sequences.base import SequenceModel
from distax.models.sequences.derefnet import DeRefNet
from distax.models.sequences.tdan import Tdan
from distax.models.superresolution.actnet import ActNet
from distax.models.superresolution.cfgn import Cfgn
from distax.models.superresolution.ctnet import CtNet
from distax.models.superresolution.dbpn import Dbpn
from distax.models.superresolution.dctlsa import Dctlsa
from distax.models.superresolution.edsr import Edsr, EdsrSequence
from distax.models.superresolution.egasr import Egasr
from distax.models.superresolution.espcn import Espcn
from distax.models.superresolution.fenet import FeNet
from distax.models.superresolution.gmfn import Gmfn
from distax.models.superresolution.han import Han
from distax.models.superresolution.hit_sng import HitSng
from distax.models.superresolution.rcan import Rcan
from distax.models.superresolution.rdn import Rdn
from distax.models.superresolution.san import San
from distax.models.superresolution.srcnn import Srcnn, SrcnnSequence
from distax.models.superresolution.srfbn import Srfbn
from distax.models.unfolding.dista import Dista, DistaThreshold, DistaTransform
from distax.models.unfolding.dscsnet import DscsNet
from distax.models.unfolding.fista_net import FistaNet
from distax.models.unfolding.ista_net import IstaNet, IstaNetPlus
from distax.models.unfolding.ista_net_pp import IstaNetPlusPlus
from distax.models.unfolding.lista import Lamp, Liht, Lista, TiLista
from distax.models.unfolding.rpcanet import RpcaNet
from distax.models.unfolding.stsa import Stsa
from distax.models.unfolding.usrnet import UsrNet

__all__ = [
    "ActNet",
    "Bid",
    "Bsrgan",
    "Cfgn",
    "CtNet",
    "Dbpn",
    "Dctlsa",
    "DeRefNet",
    "Density",
    "Dista",
    "DistaThreshold",
    "DistaTransform",
    "DscsNet",
    "Edsr",
    "EdsrSequence",
    "Egasr",
    "Espcn",
    "Esrgan",
    "FeNet",
    "Fista",
    "FistaNet",
    "Focus",
    "Gmfn",
    "GridModel",
    "GuidedOffsets",
    "Han",
    "HitSng",
    "Ista",
    "IstaNet",
    "IstaNetPlus",
    "IstaNetPlusPlus",
    "Lamp",
    "Liht",
    "Lista",
    "Model",
    "Nnls",
    "Rcan",
    "Rdn",
    "RpcaNet",
    "San",
    "SequenceModel",
    "Srcnn",
    "SrcnnSequence",
    "Srfbn",
    "Srgan",
    "Stsa",
    "Tdan",
    "TiLista",
    "UsrNet",
    "create",
    "import_module_file",
    "names",
    "register",
    "register_head",
]
