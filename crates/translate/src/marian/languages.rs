//! Languages as models name them, and the one that serves who asks for an IETF tag.

use crate::language::affinity;

/// Codes of M2M100, in the order of their ids, which follow those of the pieces.
pub const M2M100: &str = "\
    af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi \
    hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns \
    oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh \
    zu";

/// Codes of the WMT21 models of M2M100's kind.
pub const WMT21: &str = "en ha is ja cs ru zh de";

/// Codes of NLLB-200, in the order of their ids, which follow those of the pieces.
pub const NLLB: &str = "\
    ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab \
    ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn \
    ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl \
    cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn \
    dzo_Tibt ell_Grek eng_Latn epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn fin_Latn \
    fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn \
    heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn \
    jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor knc_Arab knc_Latn \
    kaz_Cyrl kbp_Latn kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kon_Latn kor_Hang kmr_Latn \
    lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn lua_Latn lug_Latn \
    luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl plt_Latn mlt_Latn mni_Beng \
    khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn \
    nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab \
    quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn \
    slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn \
    sun_Latn swe_Latn swh_Latn szl_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi \
    taq_Latn taq_Tfng tpi_Latn tsn_Latn tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab \
    ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn \
    yue_Hant zho_Hans zho_Hant zul_Latn";

/// ISO 639-3 and 639-1 where there is one, and other names of a language.
const OTHER_NAMES: &str = "\
    afr:af aka:ak als:sq amh:am ara:ar arb:ar asm:as ayr:ay aze:az azj:az bak:ba bam:bm bel:be ben:bn \
    bod:bo bos:bs bul:bg cat:ca ces:cs cmn:zh cym:cy dan:da deu:de dzo:dz ekk:et ell:el eng:en epo:eo \
    est:et eus:eu ewe:ee fao:fo fas:fa fij:fj fil:tl fin:fi fra:fr fry:fy fuv:ff gaz:om gla:gd gle:ga \
    glg:gl grn:gn guj:gu hat:ht hau:ha heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ind:id isl:is ita:it \
    jav:jv jpn:ja kan:kn kas:ks kat:ka kaz:kk khk:mn khm:km kik:ki kin:rw kir:ky kmr:ku kon:kg kor:ko \
    lao:lo lat:la lav:lv lim:li lin:ln lit:lt ltz:lb lug:lg lvs:lv mal:ml mar:mr mkd:mk mlg:mg mlt:mt \
    mon:mn mri:mi msa:ms mya:my nep:ne nld:nl nno:nn no:nb nob:nb npi:ne ns:nso nya:ny oci:oc ori:or \
    orm:om ory:or pan:pa pbt:ps pes:fa plt:mg pol:pl por:pt pus:ps que:qu quy:qu ron:ro run:rn rus:ru \
    sag:sg san:sa sin:si slk:sk slv:sl smo:sm sna:sn snd:sd som:so sot:st spa:es sqi:sq srd:sc srp:sr \
    ssw:ss sun:su swa:sw swe:sv swh:sw tam:ta tat:tt tel:te tgk:tg tgl:tl tha:th tir:ti tsn:tn tso:ts \
    tuk:tk tur:tr twi:tw uig:ug ukr:uk urd:ur uzb:uz uzn:uz vie:vi wol:wo xho:xh ydd:yi yid:yi yor:yo \
    zho:zh zsm:ms zul:zu";

/// The code (`ru`, `>>rus<<`, `__ru__`, `rus_Cyrl`) that serves who asks for `wanted` (`ru`, `zh-TW`,
/// `rus_Cyrl`) best; of equals, the first.
pub fn best<'a>(codes: impl IntoIterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    let wanted = tag(wanted);
    let fits = codes.into_iter().filter_map(|code| Some((affinity(&wanted, &tag(code))?, code)));
    fits.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, code)| code)
}

/// A code as an IETF tag with the shortest name of its language, and Chinese by its script.
fn tag(code: &str) -> String {
    let code = code.trim_matches(['>', '<', '_']).replace('_', "-");
    let (name, rest) = code.split_at(code.find('-').unwrap_or(code.len()));
    let name = name.to_ascii_lowercase();
    let other = OTHER_NAMES.split_whitespace().filter_map(|pair| pair.split_once(':'));
    let name = other.into_iter().find(|(other, _)| *other == name).map_or(name.as_str(), |(_, short)| short);
    match rest.to_ascii_uppercase().as_str() {
        "-TW" | "-HK" | "-MO" if name == "zh" => "zh-Hant".to_string(),
        _ => format!("{name}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_two_and_three_letters_are_languages() {
        for (code, wanted, same) in [
            ("ru", "ru", true),
            ("rus", "ru", true),
            (">>rus<<", "ru-RU", true),
            ("ukr", "ru", false),
            ("srp-Cyrl", "sr-Cyrl", true),
            ("srp-Latn", "sr-Cyrl", false),
            ("por", "pt-BR", true),
            ("xyz", "xy", false),
        ] {
            assert_eq!(best([code], wanted).is_some(), same, "{code} for {wanted}");
        }
    }

    #[test]
    fn a_tag_finds_its_code_among_many() {
        for (wanted, in_m2m100, in_nllb) in [
            ("en", Some("en"), Some("eng_Latn")),
            ("ru-RU", Some("ru"), Some("rus_Cyrl")),
            ("rus_Cyrl", Some("ru"), Some("rus_Cyrl")),
            ("zh", Some("zh"), Some("zho_Hans")),
            ("zh-TW", Some("zh"), Some("zho_Hant")),
            ("ar", Some("ar"), Some("arb_Arab")),
            ("fa", Some("fa"), Some("pes_Arab")),
            ("nb", Some("no"), Some("nob_Latn")),
            ("nn", None, Some("nno_Latn")),
            ("sr", Some("sr"), Some("srp_Cyrl")),
            ("sr-Latn", Some("sr"), None),
            ("pt-BR", Some("pt"), Some("por_Latn")),
            ("ast", Some("ast"), Some("ast_Latn")),
            ("tt", None, Some("tat_Cyrl")),
            ("xx", None, None),
        ] {
            assert_eq!(best(M2M100.split(' '), wanted), in_m2m100, "{wanted} in M2M100");
            assert_eq!(best(NLLB.split(' '), wanted), in_nllb, "{wanted} in NLLB");
        }
        assert_eq!((M2M100.split(' ').count(), NLLB.split(' ').count()), (100, 202));
    }

    #[test]
    fn ids_of_nllb_200_are_those_of_its_tokenizer() {
        // Its documentation and its `tokenizer.json`: 256,000 pieces, moved up by one.
        for (code, id) in
            [("ace_Arab", 256_001), ("eng_Latn", 256_047), ("rus_Cyrl", 256_147), ("zul_Latn", 256_202)]
        {
            assert_eq!(NLLB.split(' ').position(|c| c == code), Some(id - 256_001), "{code}");
        }
    }
}
