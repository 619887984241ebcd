// Ticks every dead letter of the page.
export function selectLetters() {
  const every = document.getElementById("every");
  every?.addEventListener("change", () => {
    for (const box of document.querySelectorAll("#letters [name=sequence]")) box.checked = every.checked;
  });
}
