//! Classic BPF as the kernel runs it on `struct seccomp_data`.

use hull_sys::seccomp::Instruction;

/// A system call as a filter sees it.
pub(super) struct Call {
    pub(super) audit: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 64, "load at {offset}");
        match offset {
            0 => self.number,
            4 => self.audit,
            8 | 12 => panic!("the instruction pointer means nothing"),
            _ => {
                let argument = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) {
                    argument as u32
                } else {
                    (argument >> 32) as u32
                }
            }
        }
    }
}

/// The verdict of a program.
///
/// # Panics
/// If it does what the kernel would refuse: an unknown instruction, or a jump past the end.
pub(super) fn run(program: &[Instruction], call: &Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0u32);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                accumulator = call.word(k);
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            _ => panic!("unknown instruction {code:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}
