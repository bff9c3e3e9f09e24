use super::*;
use proptest::prelude::*;

/// A pickle of protocol 2 with this inside.
fn pickle(body: &[&[u8]]) -> Vec<u8> {
    [&[&b"\x80\x02"[..]], body, &[b"."]].concat().concat()
}

fn refusal(body: &[&[u8]]) -> String {
    read(&pickle(body)).expect_err("must be refused")
}

#[test]
fn whatever_a_pickle_would_call_is_named_and_not_called() {
    // What `os.system("touch owned")` pickles to, in the ways there are to say it.
    let call = [&b"cposix\nsystem\n"[..], b"X\x0b\x00\x00\x00touch owned", b"\x85R"];
    assert!(refusal(&call).contains("wants to call posix.system"), "{}", refusal(&call));
    let by_stack = [&b"\x8c\x02os\x8c\x06system\x93"[..], b"\x8c\x0btouch owned\x85R"];
    assert!(refusal(&by_stack).contains("os.system"));
    let old_instance = [&b"(X\x0b\x00\x00\x00touch owned"[..], b"ios\nsystem\n"];
    assert!(refusal(&old_instance).contains("os.system"));
    for (module, name) in [
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "load"),
        ("torch.FloatStorage", "from_file"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy.core.multiarray", "_reconstruct"),
    ] {
        let refused = refusal(&[format!("c{module}\n{name}\n").as_bytes()]);
        assert!(refused.contains(&format!("{module}.{name}")), "{refused}");
    }
}

#[test]
fn instructions_that_make_objects_are_refused() {
    for opcode in [b"\x81", b"\x92", b"\x82", b"o", b"P"] {
        assert!(refusal(&[b"ccollections\nOrderedDict\n)", opcode]).contains("instruction"));
    }
    assert!(refusal(&[b"ccollections\nOrderedDict\n)i"]).contains("ends too early"));
    assert!(refusal(&[b"(icollections\nOrderedDict\n"]).contains("instruction 0x69"));
}

#[test]
fn what_is_no_tensor_is_named() {
    assert!(refusal(&[b"N"]).contains("no dictionary"));
    assert!(refusal(&[b"}X\x05\x00\x00\x00epochK\x03s"]).contains("`epoch` is a number, not a tensor"));
    assert!(refusal(&[b"}X\x05\x00\x00\x00model}s"]).contains("`model` is a dictionary, not a tensor"));
    assert!(refusal(&[b"}K\x01K\x02s"]).contains("a number is a key"));
    assert!(refusal(&[b"ctorch\nFloatStorage\n(tR"]).contains("unknown arguments"));
    assert!(refusal(&[b"K\x01)R"]).contains("calls what is no name"));
    assert!(refusal(&[b"K\x01}b"]).contains("attributes of a number"));
    assert!(refusal(&[b"(X\x06\x00\x00\x00moduleK\x01K\x01K\x01K\x01tQ"]).contains("no storage"));
}

#[test]
fn broken_pickles_are_refused() {
    for (body, reason) in [
        (&b"s"[..], "a value is missing"),
        (b"t", "no mark"),
        (b"N(0", "a value is missing"), // nothing above the mark
        (b"h\x07", "nothing is remembered as 7"),
        (b"}(K\x01u", "a key without a value"),
        (b"X\xff\xff\xff\xffabc", "4294967295 more bytes announced"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "more bytes announced"),
        (b"X\x01\x00\x00\x00\xff", "not UTF-8"),
    ] {
        assert!(refusal(&[body]).contains(reason), "{body:?}: {}", refusal(&[body]));
    }
    assert!(read(b"\x80\x02}").unwrap_err().contains("ends too early"), "no end");
}

#[test]
fn bombs_are_bounded() {
    // A million lists, each inside the next.
    let nested = [&b"]"[..], &b"\x85".repeat(1 << 20)].concat();
    assert!(refusal(&[&nested]).contains("no dictionary"));
    // A list that holds itself.
    assert!(refusal(&[b"]q\x00h\x00a"]).contains("no dictionary"));
    // Doubling again and again: each step only repeats a reference.
    let doubled = [&b"}q\x00"[..], &b"h\x00h\x00\x86q\x00".repeat(1000)].concat();
    assert!(refusal(&[&doubled]).contains("no dictionary"));
    assert!(refusal(&[&b"N0".repeat(MAX_STEPS)]).contains("steps"));
    let shape = [REBUILD, STORAGE, b"K\x01tQK\x00(", &b"K\x01".repeat(9), b"t)tR"];
    assert!(refusal(&shape).contains("9 dimensions"), "{}", refusal(&shape));
}

const REBUILD: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n(";
/// All of a storage but its length.
const STORAGE: &[u8] =
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu";

#[test]
fn negative_sizes_are_refused() {
    assert!(refusal(&[STORAGE, b"J\xff\xff\xff\xfftQ"]).contains("length is -1"));
    assert!(refusal(&[REBUILD, STORAGE, b"K\x04tQJ\xff\xff\xff\xff))tR"]).contains("an offset is -1"));
    let size = [REBUILD, STORAGE, b"K\x04tQK\x00\x8a\x01\x80\x85K\x01\x85tR"];
    assert!(refusal(&size).contains("a size is -128"), "{}", refusal(&size));
    let none = [REBUILD, STORAGE, b"K\x04tQK\x00N\x85K\x01\x85tR"];
    assert!(refusal(&none).contains("None stands where a size belongs"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_instructions_are_read_or_refused(
        opcodes in prop::collection::vec(prop::sample::select(&b"N}])(tuesaRQb0122\x85\x86\x87\x94K\x01h\x00q\x00."[..]), 0..80),
    ) {
        let _ = read(&opcodes);
    }
}
