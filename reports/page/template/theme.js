// Before anything is drawn: the theme that was chosen last, and that scripts run.
{
  const root = document.documentElement;
  root.classList.add("scripted");
  try {
    const theme = localStorage.getItem("bench-report-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch {
    // this browser keeps nothing for the page: it follows the system
  }
}
