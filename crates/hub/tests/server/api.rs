//! What the hub and its storage answer.

use super::wire::Request;
use super::{Files, State, TOKEN, git_blob, is_large, sha256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

fn json_answer(value: &Value) -> Answer {
    let headers = vec![("content-type", "application/json".to_string())];
    Answer { status: 200, headers, body: value.to_string().into_bytes() }
}

fn error(status: u16, code: &str) -> Answer {
    let headers = vec![("x-error-code", code.to_string()), ("x-error-message", format!("{code} it is"))];
    Answer { status, headers, body: json!({"error": code}).to_string().into_bytes() }
}

pub fn answer(state: &mut State, request: &Request) -> Answer {
    if request.storage {
        return storage(state, request);
    }
    if !state.fail.is_empty() {
        let (status, retry_after) = state.fail.remove(0);
        let headers = retry_after.map(|value| ("retry-after", value.to_string())).into_iter().collect();
        return Answer { status, headers, body: b"not now".to_vec() };
    }
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    match (request.method.as_str(), &segments[..]) {
        ("GET", ["api", "whoami-v2"]) => match has_token(request) {
            true => json_answer(&json!({"name": "tester", "type": "user", "orgs": []})),
            false => error(401, "Unauthorized"),
        },
        ("POST", ["api", "repos", "create"]) => create(state, request),
        (_, ["api", kind, org, name, rest @ ..]) => {
            let key = format!("{kind}/{org}/{name}");
            if let Some(refusal) = access(state, request, &key) {
                return refusal;
            }
            api(state, request, &key, rest)
        }
        ("POST", ["complete", oid]) => complete(state, request, oid),
        ("POST", ["verify"]) => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let object = state.objects.get(body["oid"].as_str().unwrap());
            let is_whole = object.is_some_and(|object| json!(object.len()) == body["size"]);
            if is_whole && has_token(request) { json_answer(&json!({})) } else { error(422, "NotThere") }
        }
        (_, ["datasets", org, name, rest @ ..]) => {
            files(state, request, &format!("datasets/{org}/{name}"), rest)
        }
        (_, [org, name, rest @ ..]) => files(state, request, &format!("models/{org}/{name}"), rest),
        _ => error(404, "NotFound"),
    }
}

fn has_token(request: &Request) -> bool {
    request.headers.get("authorization").is_some_and(|value| *value == format!("Bearer {TOKEN}"))
}

fn access(state: &State, request: &Request, key: &str) -> Option<Answer> {
    let Some(repo) = state.repos.get(key) else {
        // As the real one: without a token it does not say whether there is such a repository.
        return Some(if has_token(request) {
            error(404, "RepoNotFound")
        } else {
            error(401, "RepoNotFound")
        });
    };
    if repo.private && !has_token(request) {
        return Some(error(401, "RepoNotFound"));
    }
    let is_file = request.segments.iter().any(|segment| segment == "resolve");
    if repo.gated && is_file && !(has_token(request) && state.accepted.contains(key)) {
        return Some(error(if has_token(request) { 403 } else { 401 }, "GatedRepo"));
    }
    None
}

fn api(state: &mut State, request: &Request, key: &str, rest: &[&str]) -> Answer {
    let (method, write) = (request.method.as_str(), request.method == "POST");
    if write && !has_token(request) {
        return error(401, "Unauthorized");
    }
    match (method, rest) {
        ("GET", [] | ["revision", _]) => {
            let revision = rest.get(1).copied().unwrap_or("main");
            let repo = &state.repos[key];
            let Some(commit) = commit_of(state, key, revision) else {
                return match rest {
                    [] => json_answer(&json!({"id": id(key), "private": repo.private})),
                    _ => error(404, "RevisionNotFound"),
                };
            };
            let siblings: Vec<Value> =
                repo.commits[&commit].keys().map(|path| json!({"rfilename": path})).collect();
            let id = id(key);
            json_answer(
                &json!({"_id": "1", "id": id, "sha": commit, "private": repo.private, "siblings": siblings}),
            )
        }
        ("GET", ["tree", revision]) => match commit_of(state, key, revision) {
            Some(commit) => tree(state, request, key, &commit),
            None => error(404, "RevisionNotFound"),
        },
        ("POST", ["branch", branch]) => {
            let repo = state.repos.get_mut(key).unwrap();
            if repo.branches.contains_key(*branch) {
                return error(409, "Exists");
            }
            match repo.branches.get("main").cloned() {
                Some(commit) => drop(repo.branches.insert(branch.to_string(), commit)),
                None => drop(state.commit(key, branch, Files::new(), "empty")),
            }
            json_answer(&json!({}))
        }
        ("POST", ["preupload", branch]) => preupload(state, request, key, branch),
        ("POST", ["commit", branch]) => commit(state, request, key, branch),
        _ => error(404, "NotFound"),
    }
}

fn id(key: &str) -> &str {
    key.split_once('/').unwrap().1
}

fn commit_of(state: &State, key: &str, revision: &str) -> Option<String> {
    let repo = &state.repos[key];
    let commit = repo.branches.get(revision).cloned();
    commit.or_else(|| repo.commits.contains_key(revision).then(|| revision.to_string()))
}

fn tree(state: &State, request: &Request, key: &str, commit: &str) -> Answer {
    let all: Vec<Value> = state.repos[key].commits[commit]
        .iter()
        .map(|(path, content)| {
            let oid = git_blob(content);
            let mut entry = json!({"type": "file", "path": path, "size": content.len(), "oid": oid});
            if is_large(path, content.len()) {
                entry["lfs"] = json!({"oid": sha256(content), "size": content.len(), "pointerSize": 134});
            }
            entry
        })
        .collect();
    let start: usize = request.query.split("cursor=").nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let end = state.page.map_or(all.len(), |page| (start + page).min(all.len()));
    let mut answer = json_answer(&json!(all[start..end]));
    if end < all.len() {
        let next = format!("http://127.0.0.1:{}/api/{key}/tree/{commit}?cursor={end}", state.ports.0);
        answer.headers.push(("link", format!("<{next}>; rel=\"next\"")));
    }
    answer
}

fn create(state: &mut State, request: &Request) -> Answer {
    if !has_token(request) {
        return error(401, "Unauthorized");
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let text = |key: &str| body[key].as_str().unwrap_or("model").to_string();
    let key = format!("{}s/{}/{}", text("type"), text("organization"), text("name"));
    if state.repos.contains_key(&key) {
        return error(409, "Exists");
    }
    state.commit(&key, "main", Files::new(), "initial commit");
    state.repos.get_mut(&key).unwrap().private = body["private"] == json!(true);
    json_answer(&json!({"url": key}))
}

fn preupload(state: &State, request: &Request, key: &str, branch: &str) -> Answer {
    let Some(commit) = commit_of(state, key, branch) else { return error(404, "RevisionNotFound") };
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let files = body["files"].as_array().unwrap().iter().map(|file| {
        let (path, size) = (file["path"].as_str().unwrap(), file["size"].as_u64().unwrap());
        assert!(STANDARD.decode(file["sample"].as_str().unwrap()).unwrap().len() as u64 == size.min(512));
        let mode = if is_large(path, size as usize) { "lfs" } else { "regular" };
        let old = state.repos[key].commits[&commit].get(path);
        let oid = old.map(|old| if is_large(path, old.len()) { sha256(old) } else { git_blob(old) });
        json!({"path": path, "uploadMode": mode, "shouldIgnore": false, "oid": oid})
    });
    json_answer(&json!({"files": files.collect::<Vec<_>>()}))
}

fn commit(state: &mut State, request: &Request, key: &str, branch: &str) -> Answer {
    assert_eq!(request.headers["content-type"], "application/x-ndjson");
    let (mut files, mut summary) = (Files::new(), String::new());
    for line in std::str::from_utf8(&request.body).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (key, value) = (line["key"].as_str().unwrap(), &line["value"]);
        let path = || value["path"].as_str().unwrap().to_string();
        match key {
            "header" => summary = value["summary"].as_str().unwrap().to_string(),
            "file" => {
                let content = STANDARD.decode(value["content"].as_str().unwrap()).unwrap();
                files.insert(path(), content);
            }
            "lfsFile" => match state.objects.get(value["oid"].as_str().unwrap()) {
                Some(object) => drop(files.insert(path(), object.clone())),
                None => return error(400, "LfsObjectMissing"),
            },
            other => panic!("a line `{other}`"),
        }
    }
    let commit = state.commit(key, branch, files, &summary);
    json_answer(
        &json!({"success": true, "commitOid": commit, "commitUrl": format!("/{key}/commit/{commit}")}),
    )
}

/// `…/resolve/<revision>/<path>`, and the LFS batch of `….git`.
fn files(state: &mut State, request: &Request, key: &str, rest: &[&str]) -> Answer {
    if let ["info", "lfs", "objects", "batch"] = rest {
        return batch(state, request);
    }
    let ["resolve", revision, path @ ..] = rest else { return error(404, "NotFound") };
    if let Some(refusal) = access(state, request, key) {
        return refusal;
    }
    let Some(commit) = commit_of(state, key, revision) else { return error(404, "RevisionNotFound") };
    let path = path.join("/");
    let Some(content) = state.repos[key].commits[&commit].get(&path) else {
        let mut answer = error(404, "EntryNotFound");
        answer.headers.push(("x-repo-commit", commit));
        return answer;
    };
    let mut headers = vec![("x-repo-commit", commit)];
    if is_large(&path, content.len()) {
        let oid = sha256(content);
        headers.push(("x-linked-etag", format!("\"{oid}\"")));
        headers.push(("x-linked-size", content.len().to_string()));
        headers.push(("location", format!("http://127.0.0.1:{}/lfs/{oid}?Signature=x", state.ports.1)));
        return Answer { status: 302, headers, body: vec![] };
    }
    headers.push(("etag", format!("\"{}\"", git_blob(content))));
    ranged(request, content, headers, false)
}

fn ranged(
    request: &Request,
    content: &[u8],
    mut headers: Vec<(&'static str, String)>,
    ignore: bool,
) -> Answer {
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
    let start: Option<usize> = range.and_then(|range| range.trim_end_matches('-').parse().ok());
    match start.filter(|_| !ignore) {
        None => Answer { status: 200, headers, body: content.to_vec() },
        Some(start) if start >= content.len() => Answer { status: 416, headers, body: vec![] },
        Some(start) => {
            let len = content.len();
            headers.push(("content-range", format!("bytes {start}-{}/{len}", len - 1)));
            Answer { status: 206, headers, body: content[start..].to_vec() }
        }
    }
}

fn batch(state: &State, request: &Request) -> Answer {
    if !has_token(request) {
        return error(401, "Unauthorized");
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert!(body["transfers"].as_array().unwrap().contains(&json!("basic")));
    let (hub, storage) = state.ports;
    let objects = body["objects"].as_array().unwrap().iter().map(|object| {
        let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap() as usize);
        if state.refuse_objects {
            return json!({"oid": oid, "size": size, "error": {"code": 507, "message": "no room"}});
        }
        if state.objects.contains_key(oid) {
            return json!({"oid": oid, "size": size});
        }
        let upload = match state.part_size.filter(|part| size > *part) {
            None => json!({"href": format!("http://127.0.0.1:{storage}/upload/{oid}")}),
            Some(part) => {
                let mut header = json!({"chunk_size": part.to_string()});
                for number in 1..=size.div_ceil(part) {
                    header[number.to_string()] =
                        json!(format!("http://127.0.0.1:{storage}/part/{oid}/{number}"));
                }
                json!({"href": format!("http://127.0.0.1:{hub}/complete/{oid}"), "header": header})
            }
        };
        let verify = json!({"href": format!("http://127.0.0.1:{hub}/verify")});
        json!({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}})
    });
    json_answer(&json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()}))
}

fn complete(state: &mut State, request: &Request, oid: &str) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let parts = state.parts.remove(oid).unwrap_or_default();
    let named: Vec<Value> =
        parts.iter().map(|(n, part)| json!({"partNumber": n, "etag": sha256(part)})).collect();
    if body["parts"] != json!(named) {
        return error(400, "WrongParts");
    }
    let whole = parts.into_values().flatten().collect::<Vec<u8>>();
    store(state, oid, whole)
}

fn store(state: &mut State, oid: &str, content: Vec<u8>) -> Answer {
    if sha256(&content) != oid {
        return error(400, "WrongContent");
    }
    state.objects.insert(oid.to_string(), content);
    json_answer(&json!({}))
}

fn storage(state: &mut State, request: &Request) -> Answer {
    assert!(!request.headers.contains_key("authorization"), "the storage server got the token");
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    match (request.method.as_str(), &segments[..]) {
        ("GET" | "HEAD", ["lfs", oid]) => {
            let mut content = state.objects[*oid].clone();
            if state.corrupt > 0 {
                state.corrupt -= 1;
                content[0] ^= 1;
            }
            ranged(request, &content, vec![("etag", "\"of-the-storage\"".into())], state.ignore_range)
        }
        ("PUT", ["upload", oid]) => store(state, oid, request.body.clone()),
        ("PUT", ["part", oid, number]) => {
            let parts = state.parts.entry(oid.to_string()).or_default();
            parts.insert(number.parse().unwrap(), request.body.clone());
            let etag = sha256(&request.body);
            Answer { status: 200, headers: vec![("etag", etag)], body: vec![] }
        }
        _ => error(404, "NotFound"),
    }
}
