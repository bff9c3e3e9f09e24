//! The environment variables of the Hub's tools, each declared once.

use std::path::{Path, PathBuf};

/// One environment variable.
#[derive(Debug)]
pub struct Variable {
    pub name: &'static str,
    /// Older names of the same, which count where the first is unset.
    pub aliases: &'static [&'static str],
    pub meaning: &'static str,
    /// Its value must never be shown.
    pub secret: bool,
}

const fn variable(name: &'static str, aliases: &'static [&'static str], meaning: &'static str) -> Variable {
    Variable { name, aliases, meaning, secret: false }
}

const HF_HOME: Variable = variable(
    "HF_HOME",
    &[],
    "folder of the Hub's tools [default: $XDG_CACHE_HOME/huggingface, ~/.cache/huggingface]",
);
const HF_HUB_CACHE: Variable = variable(
    "HF_HUB_CACHE",
    &["HUGGINGFACE_HUB_CACHE"],
    "folder of downloaded models and data sets [default: $HF_HOME/hub]",
);
const HF_TOKEN: Variable = Variable {
    name: "HF_TOKEN",
    aliases: &["HUGGING_FACE_HUB_TOKEN"],
    meaning: "access token, for gated and private repositories and for `push`",
    secret: true,
};
const HF_TOKEN_PATH: Variable =
    variable("HF_TOKEN_PATH", &[], "file with the access token [default: $HF_HOME/token]");
const HF_ENDPOINT: Variable =
    variable("HF_ENDPOINT", &[], "address of the Hub [default: https://huggingface.co]");
const HF_HUB_OFFLINE: Variable =
    variable("HF_HUB_OFFLINE", &["TRANSFORMERS_OFFLINE"], "1: use the cache alone, ask no network");
const HF_HUB_DISABLE_IMPLICIT_TOKEN: Variable =
    variable("HF_HUB_DISABLE_IMPLICIT_TOKEN", &[], "1: send the token with `push` only, not when reading");

/// Every variable that this crate reads, but for `HOME` and `XDG_CACHE_HOME`.
pub const VARIABLES: [&Variable; 7] = [
    &HF_HOME,
    &HF_HUB_CACHE,
    &HF_TOKEN,
    &HF_TOKEN_PATH,
    &HF_ENDPOINT,
    &HF_HUB_OFFLINE,
    &HF_HUB_DISABLE_IMPLICIT_TOKEN,
];

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// What the environment comes to.
#[derive(Clone)]
pub struct Settings {
    /// Without a slash at its end.
    pub endpoint: String,
    pub cache: PathBuf,
    /// The token and where it was found.
    pub token: Option<(String, String)>,
    /// Whether the token goes along when nothing is written.
    pub token_when_reading: bool,
    pub offline: bool,
}

/// The token stays out of logs.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token from", &self.token.as_ref().map(|(_, source)| source))
            .field("offline", &self.offline)
            .finish()
    }
}

impl Settings {
    /// As the process's environment has it.
    pub fn from_env() -> Self {
        Self::resolve(&|name| std::env::var(name).ok())
    }

    /// As the given variables have it; an empty one counts as unset.
    pub fn resolve(read: &dyn Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| read(name).filter(|value| !value.trim().is_empty());
        let get = |variable: &Variable| {
            let names = std::iter::once(&variable.name).chain(variable.aliases);
            names.copied().find_map(|name| Some((name, read(name)?)))
        };
        let user_home = read("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let path = |variable: &Variable| get(variable).map(|(_, value)| below_home(&value, &user_home));
        let home = path(&HF_HOME).unwrap_or_else(|| {
            let cache = read("XDG_CACHE_HOME").map(|value| below_home(&value, &user_home));
            cache.unwrap_or_else(|| user_home.join(".cache")).join("huggingface")
        });
        let token = get(&HF_TOKEN).map(|(name, value)| (value.trim().to_string(), name.to_string()));
        let token = token.or_else(|| {
            let file = path(&HF_TOKEN_PATH).unwrap_or_else(|| home.join("token"));
            let text = std::fs::read_to_string(&file).ok()?;
            let token = text.trim();
            (!token.is_empty()).then(|| (token.to_string(), file.display().to_string()))
        });
        let is_on = |variable| get(variable).is_some_and(|(_, value)| is_true(&value));
        let endpoint = get(&HF_ENDPOINT).map_or_else(|| DEFAULT_ENDPOINT.to_string(), |(_, value)| value);
        Self {
            endpoint: endpoint.trim().trim_end_matches('/').to_string(),
            cache: path(&HF_HUB_CACHE).unwrap_or_else(|| home.join("hub")),
            token,
            token_when_reading: !is_on(&HF_HUB_DISABLE_IMPLICIT_TOKEN),
            offline: is_on(&HF_HUB_OFFLINE),
        }
    }
}

/// The spellings that the Hub's tools take for true.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.trim().to_uppercase().as_str())
}

/// `~/x` as the shell reads it, where no shell has.
fn below_home(path: &str, home: &Path) -> PathBuf {
    match path.trim().strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if path.trim() == "~" => home.to_path_buf(),
        None => PathBuf::from(path.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn resolve(variables: &[(&str, &str)]) -> Settings {
        let map: HashMap<_, _> = variables.iter().copied().collect();
        Settings::resolve(&|name| map.get(name).map(|value| value.to_string()))
    }

    #[test]
    fn folders_follow_from_each_other() {
        let cache = |variables: &[(&str, &str)]| resolve(variables).cache;
        assert_eq!(cache(&[("HOME", "/u")]), Path::new("/u/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/u"), ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/u"), ("HF_HOME", "~/hf")]), Path::new("/u/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
        let both = [("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "")];
        assert_eq!(cache(&both), Path::new("/new"));
    }

    #[test]
    fn the_token_comes_from_the_variable_then_from_the_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        assert_eq!(resolve(&[("HF_HOME", home)]).token, None);
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let settings = resolve(&[("HF_HOME", home)]);
        assert_eq!(settings.token.as_ref().unwrap().0, "hf_file");
        assert!(!format!("{settings:?}").contains("hf_file"));
        let other = folder.path().join("other");
        std::fs::write(&other, "hf_other").unwrap();
        let named = [("HF_HOME", home), ("HF_TOKEN_PATH", other.to_str().unwrap())];
        assert_eq!(resolve(&named).token.unwrap().0, "hf_other");
        assert_eq!(resolve(&[("HF_HOME", home), ("HF_TOKEN", " hf_env ")]).token.unwrap().0, "hf_env");
    }

    #[test]
    fn the_readme_names_every_variable() {
        let readme = include_str!("../../../README.md");
        for variable in VARIABLES {
            assert!(
                readme.contains(&format!("`{}`", variable.name)),
                "{} is not in README.md",
                variable.name
            );
        }
    }

    #[test]
    fn switches_and_the_endpoint() {
        assert!(resolve(&[("HF_HUB_OFFLINE", "yes")]).offline);
        assert!(resolve(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert!(!resolve(&[("HF_HUB_OFFLINE", "0")]).offline);
        assert_eq!(resolve(&[]).endpoint, "https://huggingface.co");
        assert_eq!(resolve(&[("HF_ENDPOINT", "http://127.0.0.1:8000/")]).endpoint, "http://127.0.0.1:8000");
    }
}
