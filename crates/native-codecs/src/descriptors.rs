//! Descriptors that a process was started with.

/// Closes every descriptor above standard error that this process was started with: those of whoever
/// started it. To be called before any other is opened.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub fn close_inherited() -> std::io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: at the start of a process nothing owns a descriptor above these yet.
    let done = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
