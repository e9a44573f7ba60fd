"""What shapes of a face are called elsewhere, as data: words for one control, and visemes as mixtures.

Sources: Apple ARKit, Unreal MetaHuman control names, the VRM 1.0 expression presets, Oculus visemes, ICT-FaceKit,
Reallusion, VRoid, and the action units of FACS. All in lower case without separators and without a side.
"""

from __future__ import annotations

# ARKit name without Left/Right -> other words for it. A side, if any, is taken from the rest of the name.
ARKIT_WORDS: dict[str, str] = {
    "eyeBlink": "blink eyeclose eyeclosed eyesclosed eyesclose closeeye closeeyes lidclose eyelidclose wink "
    "eyeblinks fcleyeclose au43 au45",
    "eyeLookDown": "lookdown eyesdown gazedown eyedown eyeslookdown eyeballdown",
    "eyeLookIn": "eyein eyeballin gazein",
    "eyeLookOut": "lookout eyeout eyeballout gazeout",
    "eyeLookUp": "lookup eyesup gazeup eyeup eyeslookup eyeballup",
    "eyeSquint": "squint eyessquint eyesquintinner lidtighten lidtightener eyelidtighten eyestighten au7 au07",
    "eyeWide": "wide eyewiden eyeswide eyeswiden eyeopenwide upperlidraise upperlidraiser lidupperraise au5 au05",
    "jawForward": "jawfwd jawthrust jawforwards jawout jawprotrude au29",
    "jawOpen": "mouthopen openmouth openjaw jawdrop jawdown opendown au26 au27",
    "mouthClose": "mouthclosed lipstogether lipsclose lipsclosed closelips",
    "mouthFunnel": "funnel lipfunneler lipfunnel lipsfunnel au22",
    "mouthPucker": "pucker kiss lippucker lipspucker mouthlipspurse lipspurse mouthkiss au18",
    "mouthSmile": "smile lipcornerpull lipcornerpuller cornerpull mouthcornerpull mouthcornerup mouthsmiles au12",
    "mouthFrown": "frown lipcornerdepress lipcornerdepressor cornerdepress mouthcornerdepress mouthcornerdown "
    "mouthsad au15",
    "mouthDimple": "dimple dimpler dimples au14",
    "mouthStretch": "lipstretch lipstretcher lipsstretch stretch mouthwide mouthlipsstretch au20",
    "mouthRollLower": "lowerliprollin mouthlowerliprollin liprollinlower lowerlipsuck lowerlipin rolllower "
    "liprolllower",
    "mouthRollUpper": "upperliprollin mouthupperliprollin liprollinupper upperlipsuck upperlipin rollupper "
    "liprollupper",
    "mouthShrugLower": "chinraise chinraiser jawchinraise jawchinraised lowerlipup mouthlowerlipup shruglower au17",
    "mouthShrugUpper": "upperlipshrug shrugupper jawchinraiseu",
    "mouthPress": "mouthlipspress lippress lippressor lipspress lipspressed press au24",
    "mouthLowerDown": "lowerlipdepress lowerlipdepressor mouthlowerlipdepress lowerlipdown mouthlowerlipdown "
    "lowerdown au16",
    "mouthUpperUp": "upperlipraise upperlipraiser mouthupperlipraise upperlipup mouthupperlipup upperup au10",
    "browDown": "browlower browlowerer browslower browsdown lowerbrow browfrown au4 au04",
    "browInnerUp": "innerbrowraise innerbrowraiser browraisein browraiseinner innerbrowup browsu browsinnerup "
    "browsupinner au1 au01",
    "browOuterUp": "outerbrowraise outerbrowraiser browraiseout browraiseouter outerbrowup browsouterup au2 au02",
    "cheekPuff": "puff puffcheeks cheekspuff cheekblow mouthcheekblow cheekpuffed au33 au34",
    "cheekSquint": "cheekraise cheekraiser eyecheekraise cheekup cheeksquintup cheeksraise au6 au06",
    "noseSneer": "sneer nosewrinkle nosewrinkler nosewrinkles nosesneers wrinklenose au9 au09",
    "tongueOut": "tongue tonguestickout tongueforward stickout au19",
}

# Names whose side is a direction of motion, and eyes that look to a side: word -> ARKit names.
ARKIT_WHOLE: dict[str, tuple[str, ...]] = {
    "jawl": ("jawLeft",),
    "jawr": ("jawRight",),
    "jawslideleft": ("jawLeft",),
    "jawslideright": ("jawRight",),
    "mouthl": ("mouthLeft",),
    "mouthr": ("mouthRight",),
    "mouthslideleft": ("mouthLeft",),
    "mouthslideright": ("mouthRight",),
    "mouthswingleft": ("mouthLeft",),
    "mouthswingright": ("mouthRight",),
    "lookleft": ("eyeLookOutLeft", "eyeLookInRight"),
    "lookright": ("eyeLookInLeft", "eyeLookOutRight"),
    "eyeslookleft": ("eyeLookOutLeft", "eyeLookInRight"),
    "eyeslookright": ("eyeLookInLeft", "eyeLookOutRight"),
    "eyelookleftl": ("eyeLookOutLeft",),
    "eyelookleftr": ("eyeLookInRight",),
    "eyelookrightl": ("eyeLookInLeft",),
    "eyelookrightr": ("eyeLookOutRight",),
}

# Words for controls that ARKit does not have: FACS name without its side -> other words for it.
FACS_WORDS: dict[str, str] = {
    "brow_squeeze": "browlateral browsqueeze browstogether",
    "nostril_dilate": "nostrilflare nosenostrildilate nostrildilator nostrildilated au38",
    "nostril_compress": "nosenostrilcompress nostrilcompressor au39",
    "nasolabial_deepen": "nasolabialfold nasolabialfurrow nosenasolabialdeepen nasolabialdeepener au11",
    "cheek_suck": "mouthcheeksuck cheeksuckin suckcheeks au35",
    "jaw_clench": "clenchjaw au31",
    "corner_pull_sharp": "sharpcornerpull mouthsharpcornerpull sharplippuller au13",
    "lips_part": "lipspart mouthlipspart lipspartopen au25",
    "neck_tighten": "neckstretch neckmastoidcontract necktightener platysma au21",
    "ear_raise": "earup earraise",
}

# Quarters of the lips, MetaHuman's U/D before the side: word -> FACS stem.
QUARTERS: dict[str, str] = {
    "mouthfunnel": "lip_funnel",
    "mouthlipspurse": "lip_pucker",
    "mouthlipstogether": "lips_together",
    "mouthlipspress": "lip_press",
    "mouthlipstighten": "lip_tighten",
    "mouthfunnelupper": "lip_funnel",
    "mouthfunnellower": "lip_funnel",
    "mouthpuckerupper": "lip_pucker",
    "mouthpuckerlower": "lip_pucker",
}

# Mixtures: no name for one control. Used only where the rig has none of its controls itself. VRM 1.0 and Oculus
# visemes and emotions, roughly, as the mouth shapes of their own pictures.
MIXTURES: dict[str, dict[str, float]] = {
    "aa": {"jawOpen": 0.7},
    "ih": {"jawOpen": 0.2, "mouthStretchLeft": 0.4, "mouthStretchRight": 0.4},
    "ou": {"mouthPucker": 0.7, "jawOpen": 0.15},
    "ee": {"jawOpen": 0.15, "mouthSmileLeft": 0.35, "mouthSmileRight": 0.35},
    "oh": {"mouthFunnel": 0.6, "jawOpen": 0.35},
    "happy": {
        "mouthSmileLeft": 0.8,
        "mouthSmileRight": 0.8,
        "cheekSquintLeft": 0.5,
        "cheekSquintRight": 0.5,
    },
    "angry": {
        "browDownLeft": 0.9,
        "browDownRight": 0.9,
        "noseSneerLeft": 0.4,
        "noseSneerRight": 0.4,
        "mouthPressLeft": 0.4,
        "mouthPressRight": 0.4,
    },
    "sad": {"browInnerUp": 0.8, "mouthFrownLeft": 0.7, "mouthFrownRight": 0.7},
    "relaxed": {"mouthSmileLeft": 0.3, "mouthSmileRight": 0.3},
    "surprised": {
        "browInnerUp": 0.7,
        "browOuterUpLeft": 0.7,
        "browOuterUpRight": 0.7,
        "eyeWideLeft": 0.6,
        "eyeWideRight": 0.6,
        "jawOpen": 0.3,
    },
}
MIXTURE_WORDS: dict[str, str] = {
    "aa": "a visemeaa fclmtha vrca",
    "ih": "i visemei visemeih fclmthi",
    "ou": "u visemeu visemeou fclmthu",
    "ee": "e visemee fclmthe",
    "oh": "o visemeo visemeoh fclmtho",
    "happy": "joy fun fclalljoy fclallfun happiness",
    "angry": "anger fclallangry",
    "sad": "sorrow fclallsorrow sadness",
    "relaxed": "",
    "surprised": "surprise fclallsurprised",
}

REST = frozenset({"neutral", "basis", "base", "rest", "default", "restpose", "fclallneutral"})
"""Shapes that hold the face at rest: MediaPipe's ``_neutral``, Blender's ``Basis``; they map to nothing."""
