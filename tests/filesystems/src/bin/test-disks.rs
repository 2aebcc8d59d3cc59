//! `test-disks SEED FOLDER...`: a forgetful disk in each of these folders, for processes that are no tests. Used by tests/chaos.
//!
//! It obeys lines of its input and answers each with `ok` or with what went wrong: `cut N`, `return N` (whoever had the disk open is gone by then), `full N`,
//! `read-only N`, `sound N`; N counts the folders from 0. All disks go when its input ends.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use outlast_test_filesystems::{Condition, Disk};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test-disks: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((seed, folders)) = arguments.split_first() else {
        return Err("usage: test-disks SEED FOLDER...".into());
    };
    let seed: u64 = seed.parse()?;
    let disk =
        |(number, folder): (u64, &String)| Disk::new(Path::new(folder), seed.wrapping_mul(1000) + number);
    let mut disks = (0..).zip(folders).map(disk).collect::<Result<Vec<_>, _>>()?;
    println!("ok");
    for line in std::io::stdin().lock().lines() {
        match obey(&mut disks, &line?) {
            Ok(()) => println!("ok"),
            Err(error) => println!("{error}"),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn obey(disks: &mut [Disk], line: &str) -> Result<(), String> {
    let (command, number) = line.split_once(' ').ok_or("a command and a number are wanted")?;
    let number: usize = number
        .parse()
        .map_err(|error| format!("the number of a disk: {error}"))?;
    let disk = disks.get_mut(number).ok_or("there is no such disk")?;
    match command {
        "cut" => disk.cut(),
        "return" => disk.come_back().map_err(|error| error.to_string())?,
        "full" => disk.be(Condition::Full),
        "read-only" => disk.be(Condition::ReadOnly),
        "sound" => disk.be(Condition::Sound),
        _ => return Err(format!("there is no command {command:?}")),
    }
    Ok(())
}
