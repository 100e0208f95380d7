"""What the Hub's own lists say of a card's metadata. Data alone; the rules are `card_rules`.

The Hub changes its lists without notice: what is not here may be there by now.
"""

from __future__ import annotations

LICENSES = (
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m",
    "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd",
    "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl",
    "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "h-research", "intel-research",
    "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl", "openmdw-1.0",
    "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr",
    "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2", "llama3", "llama3.1",
    "llama3.2", "llama3.3", "llama4", "grok2-community", "gemma", "unknown", "other",
)  # fmt: skip
"""Licence ids. Source: the Hub's own answer to one that it does not take, as quoted on 2026-05-10 in
https://github.com/huggingface/huggingface_hub/issues/4218 (documented at
https://huggingface.co/docs/hub/repositories-licenses)."""

_LANGUAGES = """
aa Afar; ab Abkhazian; ae Avestan; af Afrikaans; ak Akan; am Amharic; an Aragonese; ar Arabic; as
Assamese; av Avaric; ay Aymara; az Azerbaijani; ba Bashkir; be Belarusian; bg Bulgarian; bh Bihari
languages; bi Bislama; bm Bambara; bn Bengali, Bangla; bo Tibetan; br Breton; bs Bosnian; ca Catalan,
Valencian; ce Chechen; ch Chamorro; co Corsican; cr Cree; cs Czech; cu Church Slavic, Old Slavonic,
Church Slavonic, Old Bulgarian, Old Church Slavonic; cv Chuvash; cy Welsh; da Danish; de German; dv
Divehi, Dhivehi, Maldivian; dz Dzongkha; ee Ewe; el Greek; en English; eo Esperanto; es Spanish,
Castilian; et Estonian; eu Basque; fa Persian; ff Fulah; fi Finnish; fj Fijian; fo Faroese; fr French;
fy Western Frisian; ga Irish; gd Gaelic, Scottish Gaelic; gl Galician; gn Guarani; gu Gujarati; gv Manx;
ha Hausa; he Hebrew; hi Hindi; ho Hiri Motu; hr Croatian; ht Haitian, Haitian Creole; hu Hungarian; hy
Armenian; hz Herero; ia Interlingua; id Indonesian; ie Interlingue, Occidental; ig Igbo; ii Sichuan Yi,
Nuosu; ik Inupiaq; io Ido; is Icelandic; it Italian; iu Inuktitut; ja Japanese; jv Javanese; ka
Georgian; kg Kongo; ki Kikuyu, Gikuyu; kj Kuanyama, Kwanyama; kk Kazakh; kl Kalaallisut, Greenlandic; km
Central Khmer; kn Kannada; ko Korean; kr Kanuri; ks Kashmiri; ku Kurdish; kv Komi; kw Cornish; ky
Kirghiz, Kyrgyz; la Latin; lb Luxembourgish, Letzeburgesch; lg Ganda; li Limburgan, Limburger,
Limburgish; ln Lingala; lo Lao; lt Lithuanian; lu Luba-Katanga; lv Latvian; mg Malagasy; mh Marshallese;
mi Maori; mk Macedonian; ml Malayalam; mn Mongolian; mr Marathi; ms Malay; mt Maltese; my Burmese; na
Nauru; nb Bokmål, Norwegian Bokmål; nd North Ndebele; ne Nepali; ng Ndonga; nl Dutch, Flemish; nn
Norwegian Nynorsk, Nynorsk; no Norwegian; nr South Ndebele; nv Navajo, Navaho; ny Chichewa, Chewa,
Nyanja; oc Occitan, Provençal; oj Ojibwa; om Oromo; or Oriya; os Ossetian, Ossetic; pa Panjabi, Punjabi;
pi Pali; pl Polish; ps Pushto, Pashto; pt Portuguese; qu Quechua; rm Romansh; rn Rundi; ro Romanian,
Moldavian, Moldovan; ru Russian; rw Kinyarwanda; sa Sanskrit; sc Sardinian; sd Sindhi; se Northern Sami;
sg Sango; sh Serbo-Croatian; si Sinhala, Sinhalese; sk Slovak; sl Slovenian; sm Samoan; sn Shona; so
Somali; sq Albanian; sr Serbian; ss Swati; st Sotho; su Sundanese; sv Swedish; sw Swahili; ta Tamil; te
Telugu; tg Tajik; th Thai; ti Tigrinya; tk Turkmen; tl Tagalog; tn Tswana; to Tonga; tr Turkish; ts
Tsonga; tt Tatar; tw Twi; ty Tahitian; ug Uighur, Uyghur; uk Ukrainian; ur Urdu; uz Uzbek; ve Venda; vi
Vietnamese; vo Volapük; wa Walloon; wo Wolof; xh Xhosa; yi Yiddish; yo Yoruba; za Zhuang, Chuang; zh
Chinese; zu Zulu
"""
"""ISO 639-1: each code with its English names. Source: iso-codes 4.15 (2023-04-27), iso_639-2.json;
`sh` was taken out of the standard and is still in use."""

LANGUAGE_NAMES = {
    name: code
    for entry in " ".join(_LANGUAGES.split()).lower().split("; ")
    for code, _, names in [entry.partition(" ")]
    for name in names.split(", ")
}
"""ISO 639-1 code by English name, in lower case."""
LANGUAGES = frozenset(LANGUAGE_NAMES.values())
"""The codes of two letters."""
SPECIAL_LANGUAGES = frozenset({"code", "multilingual"})
"""What the Hub takes beside codes of two or three letters, as its answer to any other value says."""

PIPELINES = {"conversational": "text-generation"}
"""Pipeline tags that the Hub gave up, with what stands in their place: the first was merged into
text-generation in 2024 (https://huggingface.co/docs/hub/models-tasks)."""
