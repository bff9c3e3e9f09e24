//! HTTP/1.1 by hand: so that an answer can be cut off in the middle.

use super::api::{self, Answer};
use super::{Seen, State};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

/// A request, its body read.
pub struct Request {
    pub storage: bool,
    pub method: String,
    /// Percent-decoded segments of the path.
    pub segments: Vec<String>,
    pub query: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// Answer requests until the client goes.
pub fn serve(connection: &TcpStream, state: &Arc<Mutex<State>>, storage: bool) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    while let Some(request) = read(&mut reader, storage) {
        let (answer, cut, throttle) = {
            let mut state = state.lock().unwrap();
            state.seen.push(Seen {
                storage,
                method: request.method.clone(),
                path: format!("/{}", request.segments.join("/")),
                headers: request.headers.clone(),
            });
            let answer = api::answer(&mut state, &request);
            let is_content = storage && request.method == "GET";
            let cut = (is_content && !state.cut_after.is_empty()).then(|| state.cut_after.remove(0));
            (answer, cut, state.throttle.filter(|_| is_content))
        };
        let head = request.method == "HEAD";
        if write(connection, &answer, head, cut, throttle).is_none() {
            let _ = connection.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>, storage: bool) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_string());
    }
    assert!(!headers.contains_key("transfer-encoding"), "a storage server takes no body of unknown length");
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let segments = path.split('/').filter(|s| !s.is_empty()).map(decode).collect();
    Some(Request { storage, method, segments, query: decode(query), headers, body })
}

fn write(
    mut connection: &TcpStream,
    answer: &Answer,
    head: bool,
    cut: Option<usize>,
    throttle: Option<(usize, std::time::Duration)>,
) -> Option<()> {
    let mut text = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n", answer.body.len());
    connection.write_all(text.as_bytes()).ok()?;
    if head {
        return Some(());
    }
    let body = &answer.body[..cut.unwrap_or(answer.body.len()).min(answer.body.len())];
    for part in body.chunks(throttle.map_or(1 << 20, |(size, _)| size)) {
        connection.write_all(part).ok()?;
        if let Some((_, pause)) = throttle {
            std::thread::sleep(pause);
        }
    }
    connection.flush().ok()?;
    cut.is_none().then_some(())
}

pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap()
}
